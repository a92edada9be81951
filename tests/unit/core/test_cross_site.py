"""B1, B2, B3: which page a call comes from, on every method and in the order of judgement."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode

import pytest

from app.core.cross_site import (
    FetchMetadata,
    build_cors_headers,
    build_csrf_token,
    build_fetch_metadata,
    build_preflight_answer_headers,
    check_cross_site,
    check_csrf_token,
    check_websocket_origin,
    is_allowed_origin,
    is_navigation,
    is_preflight,
    needs_csrf_token,
    prefers_html,
)
from app.core.errors import CsrfFailedError
from app.core.headers import HeaderView

OWN = "https://app.example.com"
DEV = "http://localhost:5173"
EVIL = "https://evil.example"
SIBLING = "https://shop.example.com"
BROWSER_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def metadata(
    origin: str | None = None,
    site: str | None = None,
    mode: str | None = None,
    dest: str | None = None,
    accept: str = "application/json",
) -> FetchMetadata:
    return FetchMetadata(origin, site, mode, dest, accept)


def check(method: str, facts: FetchMetadata, *, allows_navigation: bool = False) -> None:
    check_cross_site(method, facts, own_origin=OWN, allow_origins={DEV}, allows_navigation=allows_navigation)


LINK = metadata(site="cross-site", mode="navigate", dest="document", accept=BROWSER_ACCEPT)
TYPED = metadata(site="none", mode="navigate", dest="document", accept=BROWSER_ACCEPT)
OLD_BROWSER_LINK = metadata(accept=BROWSER_ACCEPT)

REFUSED = {
    "B1-form": ("POST", metadata(EVIL, "cross-site", "navigate", "document")),
    "B1-form-old-browser": ("POST", metadata(EVIL)),
    "B1-text-plain-json": ("POST", metadata(EVIL, "cross-site", "no-cors", "empty")),
    "B1-sibling-subdomain": ("POST", metadata(SIBLING, "same-site", "cors", "empty")),
    "B1-sibling-without-origin": ("GET", metadata(None, "same-site", "no-cors", "image")),
    "B1-image": ("GET", metadata(None, "cross-site", "no-cors", "image")),
    "B1-script": ("GET", metadata(None, "cross-site", "no-cors", "script")),
    "B1-iframe": ("GET", metadata(None, "cross-site", "navigate", "iframe")),
    "B1-cross-origin-read": ("GET", metadata(EVIL, "cross-site", "cors", "empty")),
    "B1-head": ("HEAD", metadata(EVIL)),
    "B1-options": ("OPTIONS", metadata(EVIL)),
    "B1-delete": ("DELETE", metadata(EVIL)),
    "B1-unknown-method": ("PROPFIND", metadata(EVIL)),
    "B2-null-origin": ("POST", metadata("null", "cross-site", "navigate", "document")),
    "B2-null-origin-get": ("GET", metadata("null")),
    "B2-evil-origin": ("GET", metadata(EVIL)),
    "B2-evil-origin-claims-same-origin": ("GET", metadata(EVIL, "same-origin", "cors", "empty")),
    "origin-with-slash": ("GET", metadata(OWN + "/")),
    "origin-other-scheme": ("GET", metadata("http://app.example.com")),
    "origin-other-port": ("GET", metadata(OWN + ":8443")),
    "origin-suffix": ("GET", metadata(OWN + ".evil.example")),
    "origin-capitals": ("GET", metadata("https://APP.example.com")),
    "origin-empty": ("GET", metadata("")),
    "two-origins": ("GET", metadata(f"{OWN}, {EVIL}")),
    "cross-site-with-allowed-origin": ("GET", metadata(DEV, "cross-site", "cors", "empty")),
    "unknown-site": ("GET", metadata(None, "somewhere", "cors", "empty")),
    "two-sites": ("GET", metadata(None, "same-origin, cross-site", "cors", "empty")),
    "empty-site": ("GET", metadata(None, "", "cors", "empty")),
}

PASSED = {
    "same-origin-read": ("GET", metadata(None, "same-origin", "cors", "empty")),
    "same-origin-write": ("POST", metadata(OWN, "same-origin", "cors", "empty")),
    "same-origin-form": ("POST", metadata(OWN, "same-origin", "navigate", "document")),
    "same-origin-image": ("GET", metadata(None, "same-origin", "no-cors", "image")),
    "development-origin": ("POST", metadata(DEV, "same-site", "cors", "empty")),
    "user-initiated": ("GET", metadata(None, "none", "cors", "empty")),
    "old-browser": ("GET", metadata()),
    "old-browser-write": ("PUT", metadata(OWN)),
    "no-browser": ("DELETE", metadata(accept="*/*")),
}


@pytest.mark.parametrize("allows_navigation", [False, True])
@pytest.mark.parametrize(("method", "facts"), REFUSED.values(), ids=REFUSED.keys())
def test_a_call_from_another_page_is_refused_on_every_kind_of_route(
    method: str, facts: FetchMetadata, allows_navigation: bool
) -> None:
    with pytest.raises(CsrfFailedError):
        check(method, facts, allows_navigation=allows_navigation)


@pytest.mark.parametrize("allows_navigation", [False, True])
@pytest.mark.parametrize(("method", "facts"), PASSED.values(), ids=PASSED.keys())
def test_a_call_from_our_own_page_passes(method: str, facts: FetchMetadata, allows_navigation: bool) -> None:
    check(method, facts, allows_navigation=allows_navigation)


@pytest.mark.parametrize("facts", [LINK, TYPED, OLD_BROWSER_LINK], ids=["link", "typed", "old-browser"])
def test_a_navigation_passes_only_where_the_route_says_so(facts: FetchMetadata) -> None:
    for method in ("GET", "HEAD"):
        check(method, facts, allows_navigation=True)
        with pytest.raises(CsrfFailedError):
            check(method, facts)


def test_even_a_navigation_of_our_own_page_needs_a_navigation_route() -> None:
    facts = metadata(None, "same-origin", "navigate", "document")
    check("GET", facts, allows_navigation=True)
    with pytest.raises(CsrfFailedError):
        check("GET", facts)


def test_a_foreign_origin_is_judged_before_the_navigation() -> None:
    with pytest.raises(CsrfFailedError):
        check("GET", metadata(EVIL, "cross-site", "navigate", "document"), allows_navigation=True)


def test_null_is_never_an_allowed_origin() -> None:
    assert not is_allowed_origin("null", own_origin="null", allow_origins={"null"})


def test_the_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(CsrfFailedError) as caught:
        check("GET", metadata(EVIL))
    assert "evil" not in caught.value.detail


class TestNavigation:
    @pytest.mark.parametrize(
        ("method", "facts", "expected"),
        [
            pytest.param("GET", LINK, True, id="link"),
            pytest.param("HEAD", LINK, True, id="head"),
            pytest.param("POST", LINK, False, id="form-post"),
            pytest.param("GET", metadata(mode="navigate", dest="iframe"), False, id="frame"),
            pytest.param("GET", metadata(mode="navigate", dest="embed"), False, id="embed"),
            pytest.param("GET", metadata(mode="cors", dest="document"), False, id="not-navigate"),
            pytest.param("GET", metadata(mode="navigate", accept=BROWSER_ACCEPT), False, id="mode-only"),
            pytest.param("GET", metadata(dest="document", accept=BROWSER_ACCEPT), False, id="dest-only"),
            pytest.param("GET", metadata(mode="cors", dest="empty", accept="text/html"), False, id="script-wants-html"),
            pytest.param("GET", metadata(site="cross-site", accept=BROWSER_ACCEPT), True, id="site-only"),
            pytest.param("GET", metadata(accept=BROWSER_ACCEPT), True, id="old-browser"),
            pytest.param("POST", metadata(accept=BROWSER_ACCEPT), False, id="old-browser-post"),
            pytest.param("GET", metadata(accept="*/*"), False, id="curl"),
        ],
    )
    def test_a_navigation_is_a_get_or_head_for_a_document(
        self, method: str, facts: FetchMetadata, expected: bool
    ) -> None:
        assert is_navigation(method, facts) is expected

    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            (BROWSER_ACCEPT, True),
            ("text/html", True),
            ("TEXT/HTML", True),
            ("application/xhtml+xml", True),
            ("text/html;q=0.5", True),
            ("text/html; charset=utf-8; q=0.5", True),
            ("text/html;Q=0.5", True),
            ("text/html, application/json;q=0.9", True),
            ("application/json;q=0.9,text/html", True),
            ("", False),
            ("*/*", False),
            ("text/*", False),
            ("application/json", False),
            ("application/json, text/plain, */*", False),
            ("application/json, text/html", False),
            ("text/html, application/problem+json", False),
            ("application/json, text/html;q=0.9", False),
            ("text/html;q=0.5, */*;q=0.8", False),
            ("text/html;q=0", False),
            ("text/html;q=0.000", False),
            ("text/html;q=2", False),
            ("text/html;q=", False),
            ("text/html;q=-1", False),
            ("text/html;q=nan", False),
            ("text/html;q=0.1234", False),
            ("text/htmlx", False),
            (";;;,,,", False),
        ],
    )
    def test_html_is_preferred_only_when_it_is_named_and_nothing_is_liked_better(
        self, accept: str, expected: bool
    ) -> None:
        assert prefers_html(accept) is expected


def test_fetch_metadata_is_read_from_the_header_lines() -> None:
    headers = HeaderView(
        [
            *(("ORIGIN", OWN), ("Sec-Fetch-Site", "same-origin"), ("sec-fetch-mode", "cors")),
            *(("Sec-Fetch-Dest", "empty"), ("Accept", "text/html"), ("Accept", "*/*;q=0.1")),
        ]
    )
    assert build_fetch_metadata(headers) == metadata(OWN, "same-origin", "cors", "empty", "text/html, */*;q=0.1")
    assert build_fetch_metadata(HeaderView([])) == metadata(accept="")


class TestWebsocket:
    @pytest.mark.parametrize("origin", [OWN, DEV])
    def test_a_handshake_from_an_allowed_origin_passes(self, origin: str) -> None:
        check_websocket_origin(origin, own_origin=OWN, allow_origins={DEV})

    @pytest.mark.parametrize("origin", [None, "null", EVIL, SIBLING, OWN + "/", ""], ids=lambda origin: f"B3-{origin}")
    def test_any_other_handshake_is_refused(self, origin: str | None) -> None:
        with pytest.raises(CsrfFailedError):
            check_websocket_origin(origin, own_origin=OWN, allow_origins={DEV})


class TestCsrfToken:
    COOKIE = "x" * 43

    def test_the_token_is_an_hmac_keyed_by_the_cookie(self) -> None:
        token = build_csrf_token(self.COOKIE)
        expected = hmac.new(self.COOKIE.encode(), b"bff-csrf-token", hashlib.sha256).digest()
        assert urlsafe_b64decode(token + "=") == expected
        assert len(token) == 43

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post", ""])
    def test_an_unsafe_call_with_its_sessions_token_passes(self, method: str) -> None:
        assert needs_csrf_token(method)
        check_csrf_token(method, self.COOKIE, build_csrf_token(self.COOKIE))

    @pytest.mark.parametrize(
        "presented",
        [
            pytest.param(None, id="missing"),
            pytest.param("", id="empty"),
            pytest.param("x" * 43, id="the-cookie-itself"),
            pytest.param(build_csrf_token("y" * 43), id="another-sessions"),
            pytest.param(build_csrf_token("x" * 43)[:-1], id="cut"),
            pytest.param(build_csrf_token("x" * 43) + "=", id="padded"),
            pytest.param(" " + build_csrf_token("x" * 43), id="space"),
            pytest.param(build_csrf_token("x" * 43).swapcase(), id="other-case"),
            pytest.param("\u00e9", id="latin-1"),
            pytest.param("\ud800", id="surrogate"),
            pytest.param("a" * 100_000, id="long"),
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "DELETE", "PROPFIND", "post"])
    def test_an_unsafe_call_without_it_is_refused(self, method: str, presented: str | None) -> None:
        with pytest.raises(CsrfFailedError) as caught:
            check_csrf_token(method, self.COOKIE, presented)
        assert build_csrf_token(self.COOKIE) not in caught.value.detail

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_a_safe_call_needs_none(self, method: str) -> None:
        assert not needs_csrf_token(method)
        check_csrf_token(method, self.COOKIE, None)


class TestCors:
    @pytest.mark.parametrize(
        ("method", "origin", "requested_method", "expected"),
        [
            ("OPTIONS", DEV, "POST", True),
            ("OPTIONS", EVIL, "POST", True),
            ("OPTIONS", None, "POST", False),
            ("OPTIONS", DEV, None, False),
            ("POST", DEV, "POST", False),
        ],
    )
    def test_a_preflight_is_options_with_both_headers(
        self, method: str, origin: str | None, requested_method: str | None, expected: bool
    ) -> None:
        assert is_preflight(method, origin, requested_method) is expected

    @staticmethod
    def answer_preflight(origin: str = DEV, requested_headers: str | None = "x-csrf-token") -> dict[str, str]:
        lines = build_preflight_answer_headers(
            origin, requested_headers, allowed_methods={"POST", "GET"}, own_origin=OWN, allow_origins={DEV}
        )
        return dict(lines)

    def test_a_preflight_of_an_allowed_origin_is_told_what_the_route_takes(self) -> None:
        assert self.answer_preflight() == {
            "Access-Control-Allow-Origin": DEV,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "x-csrf-token",
            "Access-Control-Max-Age": "600",
            "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        }

    @pytest.mark.parametrize("origin", [EVIL, "null", "", DEV + "/", SIBLING], ids=lambda origin: f"B2-{origin}")
    def test_a_preflight_of_another_origin_is_refused(self, origin: str) -> None:
        with pytest.raises(CsrfFailedError):
            self.answer_preflight(origin)

    @pytest.mark.parametrize("requested", ["content-type,x-csrf-token", "a, b ,\tc", "X-Custom"])
    def test_well_formed_header_names_are_echoed(self, requested: str) -> None:
        assert self.answer_preflight(requested_headers=requested)["Access-Control-Allow-Headers"] == requested

    @pytest.mark.parametrize("requested", [None, "", "a b", "a,,b", "a\r\nX-Evil: 1", "a;b", "\u00e9", ",", "a,"])
    def test_anything_else_is_not_echoed(self, requested: str | None) -> None:
        assert "Access-Control-Allow-Headers" not in self.answer_preflight(requested_headers=requested)

    def test_an_allowed_origin_may_read_answers_with_credentials(self) -> None:
        assert build_cors_headers(DEV, own_origin=OWN, allow_origins={DEV}) == [
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", DEV),
            ("Access-Control-Allow-Credentials", "true"),
            (
                "Access-Control-Expose-Headers",
                "X-BFF-Error, X-Correlation-ID, Retry-After, Location, ETag, Content-Disposition",
            ),
        ]

    @pytest.mark.parametrize("origin", [None, EVIL, "null", DEV + "0"], ids=lambda origin: f"B2-{origin}")
    def test_another_origin_gets_no_cors_header_but_caches_are_told(self, origin: str | None) -> None:
        assert build_cors_headers(origin, own_origin=OWN, allow_origins={DEV}) == [("Vary", "Origin")]

    def test_where_no_other_origin_is_allowed_nothing_is_said(self) -> None:
        assert build_cors_headers(OWN, own_origin=OWN, allow_origins=()) == []
