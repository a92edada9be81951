"""What an edge says about a request is read strictly, and no entry is no."""

from __future__ import annotations

import pytest

from app.core.errors import AccessDeniedError, AmbiguousPathError, BadRequestError
from app.core.forward_auth import ForwardAuthRule, ForwardAuthTable, ForwardedRequest, parse_forwarded_request
from app.core.headers import HeaderView

LINES = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "pdp.example.com",
    "X-Forwarded-Uri": "/tools/graph?x=1",
}


def parse(**changes: str | None) -> ForwardedRequest:
    lines = {**LINES, **{f"X-Forwarded-{name}": value for name, value in changes.items()}}
    return parse_forwarded_request(
        HeaderView((name, value) for name, value in lines.items() if value is not None), default_scheme="https"
    )


def test_a_forwarded_request_is_read() -> None:
    forwarded = parse()
    assert (forwarded.method, forwarded.host, forwarded.target.path) == ("GET", "pdp.example.com", "/tools/graph")
    assert forwarded.url == "https://pdp.example.com/tools/graph?x=1"


@pytest.mark.parametrize(
    ("host", "scheme", "origin"),
    [
        ("PDP.Example.com", "https", "https://pdp.example.com"),
        ("pdp.example.com:443", "https", "https://pdp.example.com"),
        ("pdp.example.com:8443", "https", "https://pdp.example.com:8443"),
        ("pdp.example.com:443", "http", "http://pdp.example.com:443"),
        ("pdp.example.com", None, "https://pdp.example.com"),
    ],
)
def test_the_origin_is_written_as_browsers_write_it(host: str, scheme: str | None, origin: str) -> None:
    assert parse(Host=host, Proto=scheme).origin == origin


@pytest.mark.parametrize(
    ("scheme", "origin", "is_websocket"),
    [
        ("ws", "http://pdp.example.com", True),
        ("wss", "https://pdp.example.com", True),
        ("http", "http://pdp.example.com", False),
        ("https", "https://pdp.example.com", False),
    ],
)
def test_an_edge_may_name_the_scheme_of_a_handshake(scheme: str, origin: str, is_websocket: bool) -> None:
    forwarded = parse(Proto=scheme)
    assert (forwarded.origin, forwarded.is_websocket) == (origin, is_websocket)


def test_a_handshake_is_known_by_its_key_too() -> None:
    forwarded = parse_forwarded_request(
        HeaderView([*LINES.items(), ("Sec-WebSocket-Key", "x")]), default_scheme="https"
    )
    assert forwarded.is_websocket


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-HTTP-Method", "PUT"),
        ("x-method-override", "delete"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/tools/graph"),
    ],
)
def test_p16_a_request_that_names_another_method_or_address_is_refused(name: str, value: str) -> None:
    """The edge sends these on to the application, which may do what they say."""
    with pytest.raises(BadRequestError):
        parse_forwarded_request(HeaderView([*LINES.items(), (name, value)]), default_scheme="https")


@pytest.mark.parametrize(
    "name",
    [
        "X.HTTP.Method.Override",
        "X-HTTP.Method",
        "X_Original_URL",
        "X.User.ID",
        "x_user-id",
        "X-Original.User",
        "X.Session-ID",
    ],
)
def test_h2_a_twin_of_a_name_that_the_edge_overwrites_or_the_application_obeys_is_refused(name: str) -> None:
    """The edge would send it on beside ours, whatever it says."""
    with pytest.raises(BadRequestError):
        parse_forwarded_request(HeaderView([*LINES.items(), (name, "GET")]), default_scheme="https")


def test_h2_a_name_that_only_looks_alike_is_no_twin() -> None:
    alike = [("X-User-ID", "mallory"), ("X.User.IDs", "1"), ("X-User", "1")]
    assert parse_forwarded_request(HeaderView([*LINES.items(), *alike]), default_scheme="https").method == "GET"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-HTTP-Method-Override", "get"),
        ("X-Original-URL", "/tools/graph?x=1"),
        ("X-Original-URL", "https://pdp.example.com/tools/graph?x=1"),
    ],
)
def test_one_that_says_the_same_again_is_read(name: str, value: str) -> None:
    parse_forwarded_request(HeaderView([*LINES.items(), (name, value)]), default_scheme="https")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Method": None}, id="H14-no-method"),
        pytest.param({"Host": None}, id="H14-no-host"),
        pytest.param({"Uri": None}, id="H14-no-uri"),
        pytest.param({"Method": "GET,POST"}, id="two-methods"),
        pytest.param({"Method": ""}, id="empty-method"),
        pytest.param({"Host": "pdp.example.com, evil.example"}, id="two-hosts"),
        pytest.param({"Host": "evil@pdp.example.com"}, id="user-in-host"),
        pytest.param({"Host": "pdp.example.com/x"}, id="path-in-host"),
        pytest.param({"Host": "[::1]"}, id="address"),
        pytest.param({"Proto": "ftp"}, id="scheme"),
        pytest.param({"Proto": "https,http"}, id="two-schemes"),
        pytest.param({"Uri": "https://evil.example/"}, id="P18-absolute"),
        pytest.param({"Uri": "*"}, id="P19-asterisk"),
    ],
)
def test_a_line_that_is_missing_or_malformed_is_refused(changes: dict[str, str | None]) -> None:
    with pytest.raises(AccessDeniedError):
        parse(**changes)


@pytest.mark.parametrize("name", ["X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"])
def test_of_two_lines_neither_is_picked(name: str) -> None:
    with pytest.raises(AccessDeniedError):
        parse_forwarded_request(HeaderView([*LINES.items(), (name, LINES[name])]), default_scheme="https")


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("/public/../admin", id="P4"),
        pytest.param("/public/%2e%2e/admin", id="P4-encoded"),
        pytest.param("/%61dmin", id="P5"),
        pytest.param("/public%2f..%2fadmin", id="P6"),
        pytest.param("/a%2Fb", id="P6-alone"),
        pytest.param("//admin", id="P8"),
        pytest.param("/public\\admin", id="P9"),
        pytest.param("/public;/admin", id="P10"),
        pytest.param("/admin%00", id="P13"),
        pytest.param("/%ff", id="P13-utf8"),
        pytest.param("/a#b", id="fragment"),
    ],
)
def test_a_path_with_a_second_spelling_is_refused(uri: str) -> None:
    with pytest.raises((AmbiguousPathError, BadRequestError)):
        parse(Uri=uri)


TABLE = ForwardAuthTable(
    [
        ForwardAuthRule("pdp.example.com", "/*", "none", login_redirect=False),
        ForwardAuthRule("pdp.example.com", "/admin/*", "pdp", login_redirect=True),
        ForwardAuthRule("docs.example.com", "/public/{page}", "none", login_redirect=False),
    ]
)


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        ("pdp.example.com", "/", "/*"),
        ("pdp.example.com", "/x/y", "/*"),
        ("pdp.example.com", "/admin/x", "/admin/*"),
        ("pdp.example.com", "/adminx", "/*"),
        ("docs.example.com", "/public/a", "/public/{page}"),
        ("docs.example.com", "/public/a/b", None),
        ("docs.example.com", "/", None),
        ("other.example.com", "/", None),
        ("evil.pdp.example.com", "/", None),
    ],
)
def test_the_most_specific_entry_of_the_host_decides(host: str, path: str, found: str | None) -> None:
    match = TABLE.find(host, path)
    assert (match.rule.path if match else None) == found
