"""H rows: what a client may tell a backend, what a backend may tell a browser, and what is ours alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.core.errors import BadRequestError, InternalError, UpstreamBadResponseError
from app.core.headers import (
    HeaderView,
    build_answer_headers,
    build_client_lines,
    build_edge_lines,
    check_unrepeated_headers,
    choose_correlation_id,
    choose_traceparent,
    encode_call_lines,
    encode_identifier,
    normalise_header_name,
    parse_connection_tokens,
)
from app.core.identity import Identity
from tests.unit.core.builders import ALICE, build_route

SESSION_COOKIE = "__Host-Http-bff_session"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Lines = list[tuple[str, str]]

OURS: Mapping[str, str] = {
    "X-Correlation-ID": "req-1",
    "traceparent": TRACE,
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example.com",
    "X-Forwarded-Prefix": "/api/crud",
    "Authorization": "Bearer service-token",
    "X-User-ID": "alice",
    "X-Original-User": "auth:account:idp.example:alice",
    "X-Session-ID": "ref-1",
}


def build_upstream(lines: Lines, **fields: Any) -> Lines:
    arguments: dict[str, Any] = {
        "route": build_route("/api/crud/*"),
        "identity": ALICE,
        "bearer": "service-token",
        "correlation_id": "req-1",
        "traceparent": TRACE,
        "forwarded_for": "203.0.113.9",
        "proto": "https",
        "host": "app.example.com",
        "prefix": "/api/crud",
        "session_cookie": SESSION_COOKIE,
    }
    given = {**arguments, **fields}
    client = build_client_lines(
        lines,
        request_cookies=given["route"].request_cookies,
        keeps_trace=HeaderView(lines).get("traceparent") == TRACE,
        session_cookie=given["session_cookie"],
        extra_strip=given.get("extra_strip", frozenset()),
    )
    edge = {name: given[name] for name in ("forwarded_for", "proto", "host")}
    call = {name: given[name] for name in ("correlation_id", "traceparent", "prefix", "bearer", "identity")}
    encoded = encode_call_lines(**call).decode("latin-1")
    own = [line.partition(": ") for line in encoded.removesuffix("\r\n").split("\r\n")]
    return [*client, *build_edge_lines(**edge), *((name, value) for name, _, value in own)]


def build_answer(lines: Lines, **fields: Any) -> Lines:
    arguments: dict[str, Any] = {
        "route": build_route("/api/crud/*"),
        "correlation_id": "req-1",
        "map_location": lambda location: f"mapped:{location}",
        "session_cookie": SESSION_COOKIE,
    }
    return build_answer_headers(lines, **{**arguments, **fields})


def get_all(lines: Lines, name: str) -> list[str]:
    return [value for key, value in lines if normalise_header_name(key) == normalise_header_name(name)]


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


# Everything a client must not be able to say, in any spelling, on any route.
SPOOFED = [
    *("Authorization", "DPoP", "X-Correlation-ID", "X-User-ID", "X-Original-User", "X-Session-ID", "Forwarded"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-User"),
    *("X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Port", "X-Forwarded-Anything", "X-Forwarded-Access-Token"),
    *("X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override"),
    *("Remote-User", "X-Remote-User", "X-Auth-Request-User", "X-Auth-Request-Email", "X-CSRF-Token"),
]
HOP_BY_HOP = [
    *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Expect"),
    *("Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "Proxy-Anything"),
]


def spell(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "."), name.replace("-", "_", 1)]


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


class TestFromTheBackend:
    @pytest.mark.parametrize(
        "name",
        [
            *(
                "X-BFF-Error",
                "DPoP-Nonce",
                "X-Correlation-ID",
                "Clear-Site-Data",
                "Service-Worker-Allowed",
                "Date",
                "Server",
            ),
            *("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Anything"),
            *HOP_BY_HOP,
        ],
    )
    def test_what_is_not_the_backends_to_say_is_removed(self, name: str) -> None:
        for spelling in spell(name):
            assert "x1" not in [value for _, value in build_answer([(spelling, "x1")])]

    def test_a_challenge_is_removed_on_session_routes_only(self) -> None:
        """A browser would ask the user for a password; a caller with its own credentials needs to see it."""
        challenge = [("WWW-Authenticate", "Basic")]
        assert get_all(build_answer(challenge), "www-authenticate") == []
        open_route = build_route("/api/*", auth="none")
        assert get_all(build_answer(challenge, route=open_route), "www-authenticate") == ["Basic"]

    def test_H10_cookies_come_back_only_where_the_route_lists_them_and_never_ours(self) -> None:
        cookies = [
            *(("Set-Cookie", "theme=dark; Path=/"), ("Set-Cookie", "other=1"), ("set-cookie", "bff_csrf=x")),
            *(("Set-Cookie", f"{SESSION_COOKIE}=stolen"), ("Set-Cookie", "bff_session=stolen; Domain=example.com")),
            *(("Set-Cookie", f"={SESSION_COOKIE}=stolen"), ("Set-Cookie", "__Host-Http-bff_login_x=1")),
            *(("Set-Cookie", SESSION_COOKIE), ("Set_Cookie", "other=1"), ("Set-Cookie2", "x=y")),
        ]
        assert get_all(build_answer(cookies), "set-cookie") == []
        names = {"theme", "bff_csrf", SESSION_COOKIE, "bff_session", "__Host-Http-bff_login_x", ""}
        listed = build_route("/api/*", response_cookies=frozenset(names))
        assert get_all(build_answer(cookies, route=listed), "set-cookie") == ["theme=dark; Path=/"]

    @pytest.mark.parametrize("name", ["Location", "location", "Content-Location"])
    def test_addresses_are_mapped(self, name: str) -> None:
        assert (name, "mapped:/x") in build_answer([(name, "/x")])

    def test_the_rest_passes_in_order_and_unchanged(self) -> None:
        rest = [
            *(("Content-Type", "application/json"), ("Content-Length", "12"), ("ETag", '"x"'), ("Vary", "Accept")),
            *(("Cache-Control", "private"), ("Link", "</a>"), ("X-Custom", "caf\xe9"), ("Content-Encoding", "gzip")),
        ]
        assert build_answer(rest)[: len(rest)] == rest

    def test_ours_are_added_once(self) -> None:
        lines = build_answer([("X-Content-Type-Options", "sniff"), ("X-Correlation-ID", "theirs")])
        assert get_all(lines, "X-Content-Type-Options") == ["nosniff"]
        assert get_all(lines, "X-Correlation-ID") == ["req-1"]

    def test_B7_a_backends_cache_control_is_kept_and_its_absence_is_no_store(self) -> None:
        assert get_all(build_answer([]), "cache-control") == ["no-store"]
        assert get_all(build_answer([("cache-control", "max-age=60")]), "cache-control") == ["max-age=60"]
        nominated = [("Cache-Control", "max-age=60"), ("Connection", "cache-control")]
        assert get_all(build_answer(nominated), "cache-control") == ["no-store"]

    @pytest.mark.parametrize("twin", ["Cache_Control", "Cache.Control"])
    def test_what_no_browser_takes_for_a_cache_control_leaves_it_absent(self, twin: str) -> None:
        assert ("Cache-Control", "no-store") in build_answer([(twin, "max-age=60")])

    def test_pages_of_a_backend_are_sandboxed_on_navigation_routes(self) -> None:
        route = build_route("/api/*", navigation=True)
        assert get_all(build_answer([], route=route), "content-security-policy") == ["sandbox"]
        own = [("Content-Security-Policy", "default-src 'self'")]
        assert get_all(build_answer(own, route=route), "content-security-policy") == ["default-src 'self'"]
        report = [("Content-Security-Policy-Report-Only", "default-src 'self'")]
        assert get_all(build_answer(report, route=route), "content-security-policy") == ["sandbox"]
        assert get_all(build_answer([]), "content-security-policy") == []

    def test_cors_lines_stand_beside_the_backends_vary(self) -> None:
        lines = build_answer([("Vary", "Accept")], cors_lines=[("Vary", "Origin")])
        assert get_all(lines, "vary") == ["Accept", "Origin"]

    def test_a_content_length_beside_chunks_is_not_believed(self) -> None:
        assert get_all(build_answer([("Content-Length", "5")]), "content-length") == ["5"]
        assert (
            get_all(build_answer([("Content-Length", "5"), ("Transfer-Encoding", "chunked")]), "content-length") == []
        )

    def test_what_connection_names_stays_on_that_hop(self) -> None:
        assert get_all(build_answer([("X-Hop", "1"), ("Connection", "close, X-Hop")]), "x-hop") == []
        lines = build_answer([("Connection", "X-Content-Type-Options, X-Correlation-ID")])
        assert get_all(lines, "x-content-type-options") == ["nosniff"]

    @pytest.mark.parametrize(
        "line", [("X-A", "a\r\nSet-Cookie: x=y"), ("X-A", "a\0"), ("X A", "a"), ("", "a"), ("X\n", "")]
    )
    def test_a_line_that_could_split_the_message_is_a_bad_answer(self, line: tuple[str, str]) -> None:
        with pytest.raises(UpstreamBadResponseError):
            build_answer([line])


_NAMES = st.one_of(
    st.sampled_from(
        [spelling for name in [*SPOOFED, *HOP_BY_HOP, "Cookie", "Host", "X-Own"] for spelling in spell(name)]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
)
_VALUES = st.one_of(st.sampled_from([*SPOOFED, "close", f"{SESSION_COOKIE}=spoofed"]), st.just("spoofed"))


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=8), st.booleans())
def test_no_client_can_speak_in_our_name(lines: Lines, has_identity: bool) -> None:
    identity = replace(ALICE, user_id="bob") if has_identity else None
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
