"""Ids in headers: those that a client may choose, and those of users as backends get them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.headers import choose_correlation_id, choose_traceparent, encode_identifier
from app.core.identity import Identity
from tests.unit.core.header_lines import TRACE, build_upstream


class TestIds:
    @pytest.mark.parametrize("value", ["a", "A.b_c-9", "x" * 128])
    def test_a_well_formed_correlation_id_is_taken_over(self, value: str) -> None:
        assert choose_correlation_id(value, lambda: "made") == value

    @pytest.mark.parametrize("value", [None, "", "x" * 129, "a b", "a\n", "a\r\nX: y", "a,b", "\u00e9", "{}", "a/b"])
    def test_any_other_is_made_anew(self, value: str | None) -> None:
        assert choose_correlation_id(value, lambda: "made") == "made"

    def test_a_well_formed_traceparent_is_taken_over(self) -> None:
        assert choose_traceparent(TRACE, lambda: "made") == TRACE

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            TRACE.upper(),
            TRACE + "-x",
            TRACE + "\n",
            "01" + TRACE[2:],
            "ff" + TRACE[2:],
            "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
            TRACE[:-1],
            TRACE.replace("-", "_"),
        ],
    )
    def test_any_other_traceparent_is_made_anew(self, value: str | None) -> None:
        assert choose_traceparent(value, lambda: "made") == "made"


class TestIdentifiers:
    @pytest.mark.parametrize(
        ("identifier", "value"),
        [
            ("alice", "alice"),
            ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
            ("alice@example.com", "alice@example.com"),
            ("a b", "a%20b"),
            ("M\u00fcller", "M%C3%BCller"),
            ("a\r\nX-Admin: yes", "a%0D%0AX-Admin:%20yes"),
            ("a\0b", "a%00b"),
            ("100%", "100%25"),
            ("a%20b", "a%2520b"),
            ("\ud800", "%ED%A0%80"),
            ("", ""),
        ],
    )
    def test_a_name_from_outside_becomes_visible_ascii(self, identifier: str, value: str) -> None:
        assert encode_identifier(identifier) == value

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_two_names_never_become_one(self, first: str, second: str) -> None:
        assert (encode_identifier(first) == encode_identifier(second)) == (first == second)
        assert all("!" <= character <= "~" for character in encode_identifier(first))

    def test_a_user_id_cannot_inject_a_line(self) -> None:
        mallory = Identity("m\r\nX-Admin: 1", "m\r\nX-Admin: 1", "p\n", "ref\n", {})
        lines = build_upstream([], identity=mallory)
        assert not [line for line in lines if "\n" in "".join(line) or "\r" in "".join(line)]
        assert "X-Admin" not in dict(lines)
