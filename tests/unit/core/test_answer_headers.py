"""H rows: what a backend may tell a browser, and what is ours alone."""

from __future__ import annotations

import pytest

from app.core.errors import UpstreamBadResponseError
from tests.unit.core.builders import build_route
from tests.unit.core.header_lines import HOP_BY_HOP, SESSION_COOKIE, build_answer, get_all, spell


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
