"""How header lines are read: by name, alone or several, and those that `Connection` names."""

from __future__ import annotations

import pytest

from app.core.errors import BadRequestError
from app.core.headers import HeaderView, check_unrepeated_headers, parse_connection_tokens


class TestHeaderView:
    VIEW = HeaderView([("Host", "a"), ("Accept", "x"), ("ACCEPT", "y")])

    def test_names_are_found_whatever_their_case(self) -> None:
        assert self.VIEW.get("host") == self.VIEW.get("HOST") == "a"
        assert self.VIEW.get("accept") == "x"
        assert self.VIEW.get_all("aCCept") == ["x", "y"]

    def test_what_is_not_there_is_not_found(self) -> None:
        assert self.VIEW.get("cookie") is None
        assert self.VIEW.get_all("cookie") == []

    def test_a_twin_is_another_name(self) -> None:
        assert HeaderView([("X_CSRF_Token", "x")]).get("X-CSRF-Token") is None


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Host", "Origin", "X-CSRF-Token"], ids=lambda n: f"H8-{n}")
def test_a_line_that_must_stand_alone_is_refused_when_it_comes_twice(name: str) -> None:
    check_unrepeated_headers(HeaderView([(name, "a"), ("Accept", "x"), ("Accept", "y")]))
    with pytest.raises(BadRequestError):
        check_unrepeated_headers(HeaderView([(name, "a"), (name.upper(), "a")]))


def test_connection_tokens_are_read_from_all_lines() -> None:
    assert parse_connection_tokens(["Keep-Alive, X-A", " x-b ,, "]) == {"keep-alive", "x-a", "x-b"}
