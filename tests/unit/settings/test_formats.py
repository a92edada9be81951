"""What text in a setting is accepted, and what is refused, whatever key it stands under."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.settings.schema import formats


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://App.Example.COM", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:80/", "http://localhost"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("HTTPS://a.example", "https://a.example"),
    ],
)
def test_an_origin_has_one_spelling(value: str, origin: str) -> None:
    assert formats.parse_web_origin(value) == origin


BAD_URLS = [
    "app.example.com",
    "//app.example.com",
    "ftp://app.example.com",
    "javascript:alert(1)",
    "https://",
    "https:///x",
    "https://user@app.example.com",
    "https://user:secret@app.example.com",
    "https://app.example.com:",
    "https://app.example.com:0",
    "https://app.example.com:70000",
    "https://app.example.com:8a",
    "https://app_example.com",
    "https://-app.example.com",
    "https://app..example.com",
    "https://*.example.com",
    "https://äpp.example.com",
    "https://app.example.com\\x",
    "https://app.example.com /",
    "https://app.example.com\n",
    "https://[::1",
    "https://[::z]",
]


@pytest.mark.parametrize(
    "value", [*BAD_URLS, "https://app.example.com/x", "https://a.example?x", "https://a.example#x", "*", "null"]
)
def test_what_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="an origin"):
        formats.parse_web_origin(value)


def test_an_issuer_is_kept_letter_by_letter() -> None:
    for value in ("https://IdP.example.com/", "https://idp.example.com:443/realms/a", "http://localhost:8080"):
        assert formats.parse_issuer(value) == value


@pytest.mark.parametrize("value", [*BAD_URLS, "https://idp.example.com?x=1", "https://idp.example.com/#x"])
def test_what_is_no_issuer_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="issuer"):
        formats.parse_issuer(value)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", ""),
        ("http://crud:8080", "http://crud:8080"),
        ("http://crud:8080/", "http://crud:8080"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://10.0.0.1", "http://10.0.0.1"),
    ],
)
def test_a_base_url_loses_its_last_slash(value: str, url: str) -> None:
    assert formats.parse_base_url(value) == url


@pytest.mark.parametrize(
    "value",
    [
        *BAD_URLS,
        "http://a/?x",
        "http://a/#x",
        "http://a/../x",
        "http://a/%2e",
        "http://a//b",
        "http://a/;x",
        "http://a?",
    ],
)
def test_what_is_no_base_url_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a URL"):
        formats.parse_base_url(value)


def test_no_refusal_repeats_the_value() -> None:
    with pytest.raises(ValueError, match="a URL") as caught:
        formats.parse_base_url("https://user:hunter2@a")
    assert "hunter2" not in str(caught.value)


GOOD: list[tuple[Callable[[str], str], str]] = [
    (formats.parse_host_name, ""),
    (formats.parse_host_name, "a.example.com"),
    (formats.parse_bind_address, "127.0.0.1:9000"),
    (formats.parse_bind_address, "[::1]:9000"),
    (formats.parse_bind_address, "localhost:0"),
    (formats.parse_network, "10.0.0.0/8"),
    (formats.parse_network, "fd00::/8"),
    (formats.parse_rate, ""),
    (formats.parse_rate, "30/minute"),
    (formats.parse_claim_name, "https://example.com/roles"),
    (formats.parse_claim_name, ""),
    (formats.parse_scope_value, "urn:x:read"),
    (formats.parse_parameter_name, "ui_locales"),
    (formats.parse_cookie_name, "bff_session"),
    (formats.parse_backend_cookie_name, "__Host-theirs"),
    (formats.parse_header_name, "X-Internal"),
    (formats.parse_method, "GET"),
    (formats.parse_method, "PROPFIND"),
    (formats.parse_service_name, "crud_service"),
    (formats.parse_route_id, ""),
    (formats.parse_route_id, "crud-forms.v1"),
    (formats.parse_endpoint_path, "/access/v1/evaluation"),
    (formats.parse_route_path, "/"),
    (formats.parse_route_path, "/*"),
    (formats.parse_route_path, "/a/{id}/b/*"),
    (formats.parse_route_path, "/a/"),
    (formats.parse_route_path, "/a!$&'()+,=:@b"),
    (formats.parse_upstream_path, ""),
    (formats.parse_upstream_path, "/"),
    (formats.parse_upstream_path, "/forms/{path}"),
    (formats.parse_upstream_path, "/{path}"),
    (formats.parse_upstream_path, "/a/{path}/"),
    (formats.parse_upstream_path, "/v1/form-{id}.json"),
]


@pytest.mark.parametrize(("parse", "value"), GOOD, ids=[f"{parse.__name__}-{value}" for parse, value in GOOD])
def test_good_text_is_taken_as_it_is(parse: Callable[[str], str], value: str) -> None:
    assert parse(value) == value


def test_one_address_is_a_network() -> None:
    assert formats.parse_network("10.0.0.1") == "10.0.0.1/32"


BAD: list[tuple[Callable[[str], str], str]] = [
    *((formats.parse_host_name, value) for value in (".example.com", "a_b", "http://a", "a:80", "a/b", "*.a", "a b")),
    *(
        (formats.parse_bind_address, value)
        for value in ("9000", ":9000", "a:b", "a:70000", "a:-1", "::1:9000", "[a]:1")
    ),
    *((formats.parse_network, value) for value in ("10.0.0.1/8", "any", "10.0.0.0/33", "0.0.0.0/0", "::/0", "*")),
    *((formats.parse_rate, value) for value in ("30", "0/minute", "30/min", "30 per minute", "-1/hour", "1/2 hours")),
    *((formats.parse_claim_name, value) for value in ("a b", "ä", "a\n")),
    *((formats.parse_scope_value, value) for value in ("a b", 'a"b', "a\\b", "")),
    *((formats.parse_parameter_name, value) for value in ("redirect_uri", "STATE", "scope", "a=b", "a&b", "", "nonce")),
    *((formats.parse_cookie_name, value) for value in ("a b", "a=b", "a;b", "__Host-a", "__secure-a", "__Http-a", "ä")),
    *((formats.parse_backend_cookie_name, value) for value in ("a b", "a;b", "a=b")),
    *((formats.parse_header_name, value) for value in ("X Y", "X:Y", "Host", "content-length", "Connection", "")),
    *((formats.parse_method, value) for value in ("get", "TRACE", "CONNECT", "G T", "", "GET,POST")),
    *((formats.parse_service_name, value) for value in ("a b", "-a", "a/b", "")),
    *((formats.parse_route_id, value) for value in ("a b", "a/b", "-a")),
    *((formats.parse_endpoint_path, value) for value in ("access", "/a?b", "/../a", "/%61", "//a", "/")),
    *(
        (formats.parse_route_path, value)
        for value in (
            *("", "a", "*", "/a*", "/*/a", "/a/*/b", "//a", "/a//b", "/./a", "/a/..", "/%61", "/a;b", "/a b", "/a?b"),
            *("/a#b", "/{a", "/a}", "/{}", "/{1}", "/{a}{b}", "/x{a}", "/{a}/{a}", "/{path}/*", "/\\a", "/ä", "/a\n"),
        )
    ),
    *(
        (formats.parse_upstream_path, value)
        for value in (
            *("a", "forms/{path}", "//", "//evil.example.com/{path}", "/a//b", "/../{path}", "/a/..", "/a?b={path}"),
            *("/.{name}", "/{a}.{b}", "/{a}{b}", "/x{path}", "/%2e", "/{", "/a;b", "/a\\b", "http://evil.example.com/"),
        )
    ),
]


@pytest.mark.parametrize(("parse", "value"), BAD, ids=[f"{parse.__name__}-{value!r}" for parse, value in BAD])
def test_bad_text_is_refused(parse: Callable[[str], str], value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("mylocalhost", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_only_looks_like_it(host: str, expected: bool) -> None:
    assert formats.is_loopback_host(host) is expected
