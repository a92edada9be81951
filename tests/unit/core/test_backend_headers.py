"""H rows: what a client may tell a backend, and what is ours alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import BadRequestError, InternalError
from tests.support.identities import change_identity
from tests.unit.core.builders import ALICE, build_route
from tests.unit.core.header_lines import (
    HOP_BY_HOP,
    OURS,
    SESSION_COOKIE,
    SPOOFED,
    TRACE,
    Lines,
    build_upstream,
    get_all,
    spell,
)


class TestToTheBackend:
    @pytest.mark.parametrize(
        "spelling", [pytest.param(s, id=f"H1-H2-{s}") for n in SPOOFED for s in dict.fromkeys(spell(n))]
    )
    @pytest.mark.parametrize("auth", ["session", "none"])
    def test_what_is_not_the_clients_to_say_is_removed(self, spelling: str, auth: str) -> None:
        route = build_route("/api/*", auth=auth)
        lines = build_upstream([(spelling, "spoofed"), (spelling, "spoofed")], route=route, identity=None, bearer=None)
        assert "spoofed" not in [value for _, value in lines]

    def test_without_an_identity_nothing_is_said_about_one(self) -> None:
        names = {name for name, _ in build_upstream([], identity=None, bearer=None)}
        assert names == set(OURS) - {"Authorization", "X-User-ID", "X-Original-User", "X-Session-ID"}

    def test_ours_are_added_once_each(self) -> None:
        lines = build_upstream([(name, "spoofed") for name in OURS])
        assert dict(lines) == dict(OURS)
        assert len(lines) == len(OURS)

    def test_no_prefix_is_told_when_there_is_none(self) -> None:
        assert get_all(build_upstream([], prefix=""), "X-Forwarded-Prefix") == []

    def test_H7_the_clients_authorization_is_replaced_never_appended(self) -> None:
        lines = build_upstream([("authorization", "Bearer mine"), ("Authorization", "Basic mine")])
        assert get_all(lines, "authorization") == ["Bearer service-token"]
        assert get_all(build_upstream([("authorization", "Bearer mine")], bearer=None), "authorization") == []

    def test_H5_connection_cannot_take_our_headers_away(self) -> None:
        connection = ("Connection", ", ".join(["close", *OURS, "Cookie"]))
        assert dict(build_upstream([connection])) == dict(OURS)

    @pytest.mark.parametrize("value", ["X-Private", "close, x-private", "x-other,\tX-PRIVATE ,"])
    def test_what_connection_names_stays_on_this_hop(self, value: str) -> None:
        lines = build_upstream(
            [("X-Private", "1"), ("Connection", "keep-alive"), ("connection", value), ("X-Kept", "1")]
        )
        assert get_all(lines, "X-Private") == []
        assert get_all(lines, "X-Kept") == ["1"]

    @pytest.mark.parametrize("name", [*HOP_BY_HOP, "Host", "Content-Length"])
    def test_hop_by_hop_and_framing_are_the_upstream_clients_to_write(self, name: str) -> None:
        for spelling in spell(name):
            assert "x1" not in [value for _, value in build_upstream([(spelling, "x1")])]

    def test_the_rest_passes_in_order_and_unchanged(self) -> None:
        rest = [
            *(("Accept", "application/json"), ("accept-ENCODING", "gzip"), ("Via", "1.1 edge"), ("X-Custom", "1")),
            *(("X-Custom", "2"), ("Content-Type", "text/plain"), ("If-None-Match", '"x"'), ("Range", "bytes=0-1")),
            *(("X-Forwarded", "no-prefix"), ("X-User-Identity", "other"), ("X_Custom", "caf\xe9\t;"), ("Empty", "")),
            *(("Last-Event-ID", "7"), ("Origin", "https://app.example.com"), ("Sec-Fetch-Site", "same-origin")),
        ]
        assert build_upstream(rest)[: len(rest)] == rest

    def test_the_settings_can_strip_more(self) -> None:
        lines = [("X-Debug", "1"), ("x_debug", "2"), ("X.Debug", "3"), ("X-Kept", "4"), ("tracestate", "a=b")]
        built = build_upstream([*lines, ("traceparent", TRACE)], extra_strip=frozenset({"x-debug", "tracestate"}))
        assert [value for _, value in built if value in "1234" or value == "a=b"] == ["4"]

    def test_tracestate_goes_on_only_with_the_traceparent_it_came_with(self) -> None:
        state = [("tracestate", "a=1"), ("TraceState", "b=2")]
        assert get_all(build_upstream([("TraceParent", TRACE), *state]), "tracestate") == ["a=1", "b=2"]
        assert get_all(build_upstream([("traceparent", "garbage"), *state]), "tracestate") == []
        assert get_all(build_upstream(state), "tracestate") == []
        assert get_all(build_upstream([("traceparent", "garbage")]), "traceparent") == [TRACE]

    def test_H10_cookies_go_on_only_where_the_route_lists_them(self) -> None:
        cookies = [("Cookie", f"theme=dark; {SESSION_COOKIE}=secret; bff_csrf=secret; lang=de")]
        assert get_all(build_upstream(cookies), "cookie") == []
        listed = build_route("/api/*", request_cookies=frozenset({"theme", SESSION_COOKIE, "bff_csrf"}))
        assert get_all(build_upstream(cookies, route=listed), "cookie") == ["theme=dark"]
        assert get_all(build_upstream([("Cookie", "lang=de")], route=listed), "cookie") == []

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param(("X-A", "a\r\nX-User-ID: admin"), id="crlf"),
            pytest.param(("X-A", "a\nb"), id="lf"),
            pytest.param(("X-A", "a\rb"), id="cr"),
            pytest.param(("X-A", "a\0b"), id="nul"),
            pytest.param(("X-User-ID", "a\nb"), id="in-a-dropped-line"),
            pytest.param(("Cookie", "a\nb"), id="in-a-cookie"),
            pytest.param(("X A", "a"), id="space-in-name"),
            pytest.param(("X-A ", "a"), id="space-before-colon"),
            pytest.param(("X-A:", "a"), id="colon-in-name"),
            pytest.param(("", "a"), id="no-name"),
            pytest.param(("X-A\n", "a"), id="line-break-in-name"),
            pytest.param(("X-\xe9", "a"), id="latin-1-in-name"),
            pytest.param(('"X"', "a"), id="quotes-in-name"),
        ],
    )
    def test_a_line_that_could_split_the_message_is_refused(self, line: tuple[str, str]) -> None:
        with pytest.raises(BadRequestError):
            build_upstream([("Accept", "*/*"), line])

    @pytest.mark.parametrize("field", ["bearer", "host", "proto", "forwarded_for", "correlation_id", "traceparent"])
    def test_a_line_break_in_a_value_of_our_own_is_our_fault(self, field: str) -> None:
        with pytest.raises(InternalError) as caught:
            build_upstream([], **{field: "secret\r\nX: y"})
        assert "secret" not in f"{caught.value} {caught.value.internal_reason}"

    @pytest.mark.parametrize("value", ["secret\0", "secret\u20ac"])
    def test_a_token_that_fits_no_header_is_our_fault(self, value: str) -> None:
        with pytest.raises(InternalError) as caught:
            build_upstream([], bearer=value)
        assert "secret" not in f"{caught.value} {caught.value.internal_reason}"


_NAMES = st.one_of(
    st.sampled_from(
        [spelling for name in [*SPOOFED, *HOP_BY_HOP, "Cookie", "Host", "X-Own"] for spelling in spell(name)]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
)
_VALUES = st.one_of(st.sampled_from([*SPOOFED, "close", f"{SESSION_COOKIE}=spoofed"]), st.just("spoofed"))


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8), st.booleans())
def test_no_client_can_speak_in_our_name(lines: Lines, has_identity: bool) -> None:
    identity = change_identity(ALICE, user_id="bob") if has_identity else None
    try:
        built = build_upstream(lines, identity=identity)
    except BadRequestError:
        return
    expected = {**OURS, "X-User-ID": "bob"}
    for name in SPOOFED:
        is_ours = name in OURS and (has_identity or name not in ("X-User-ID", "X-Original-User", "X-Session-ID"))
        assert get_all(built, name) == ([expected[name]] if is_ours else [])
    for name in (*HOP_BY_HOP, "Host", "Cookie"):
        assert [value for key, value in built if key.lower() == name.lower()] == []
