"""The path matched is the path authorized is the path sent: whatever has a second reading is refused."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AmbiguousPathError, BadRequestError
from app.core.request_target import RequestTarget, check_target_fits_route, parse_request_target
from app.core.routes import PathOption, RouteTable
from app.core.upstream_target import build_upstream_target
from tests.unit.core.builders import build_route

# Refused whatever the route says. Each row is a class: its neighbours stand beside it.
AMBIGUOUS = {
    # P1: a raw fragment; requests and many others cut there.
    "P1-raw-fragment": "/foo/secret#/bar",
    # P4: dot segments in every spelling.
    "P4-plain": "/public/../admin",
    "P4-leading": "/../admin",
    "P4-trailing": "/public/..",
    "P4-before-query": "/public/..?x=1",
    "P4-encoded": "/public/%2e%2e/admin",
    "P4-encoded-capital": "/public/%2E%2E/admin",
    "P4-mixed": "/.%2e/admin",
    "P4-mixed-other-half": "/%2e./admin",
    "P4-single-encoded": "/public/%2e/admin",
    "P4-last-encoded": "/public/%2e%2e",
    # P6: an opted-in encoded slash must not hide one either.
    "P6-dots-behind-encoded-slash": "/public%2f..%2fadmin",
    "P6-dots-behind-encoded-slash-capital": "/public%2F%2e%2e%2Fadmin",
    "P6-dots-at-the-end": "/public/a%2f..",
    "P6-single-dot": "/public%2f.%2fadmin",
    # P8
    "P8-leading": "//admin",
    "P8-middle": "/api//admin",
    "P8-trailing": "/api/admin//",
    "P8-host": "//evil.example/x",
    # P9
    "P9-raw": "/public\\..\\admin",
    "P9-encoded": "/public%5c..%5cadmin",
    "P9-encoded-capital": "/public%5Cadmin",
    "P9-leading": "/\\evil.example",
    # P10: Tomcat and friends read `/..;x/` as `/../`.
    "P10-dots-with-parameter": "/public/..;/admin",
    "P10-dots-with-named-parameter": "/public/..;x=1/admin",
    "P10-dots-with-encoded-semicolon": "/public/..%3b/admin",
    "P10-parameter-before-dots": "/public;/../admin",
    "P10-encoded-dots-with-parameter": "/public/%2e%2e;x/admin",
    # P11
    "P11-middle": "/./admin",
    "P11-trailing": "/admin/.",
    # P13
    "P13-encoded-nul": "/admin%00/x",
    "P13-encoded-escape": "/admin%1b",
    "P13-encoded-delete": "/admin%7f",
    "P13-encoded-delete-capital": "/admin%7F",
    "P13-raw-nul": "/admin\0/x",
    "P13-raw-tab": "/admin\tx",
    "P13-raw-space": "/admin x",
    "P13-raw-delete": "/admin\x7f",
    "P13-not-utf8": "/%ff",
    "P13-cut-utf8": "/%c3",
    "P13-overlong-dot": "/%c0%ae%c0%ae/admin",
    "P13-overlong-slash": "/public%c0%afadmin",
    "P13-surrogate": "/%ed%a0%80",
    "P13-raw-utf8": "/caf\xc3\xa9",
    "P13-raw-latin1": "/caf\xe9",
    "P13-no-hex": "/a%zz",
    "P13-half-escape": "/a%2",
    "P13-lone-percent": "/a%",
    "P13-unicode-escape": "/a%u002e",
    "P13-percent-dot": "/a%.%2e",
    # P25
    "P25-crlf": "/a%0d%0aX-Evil:%201",
    "P25-lf": "/a%0ax",
    "P25-raw-crlf": "/a\r\nX-Evil: 1",
}

NOT_A_PATH = {
    "P18-absolute-form": "http://evil.example/admin",
    "P18-absolute-form-tls": "HTTPS://evil.example/admin",
    "P18-authority-form": "evil.example:443",
    "P19-asterisk": "*",
    "P19-no-slash": "admin",
    "P19-empty": "",
    "P19-query-only": "?x=/admin",
    "P19-encoded-slash-first": "%2fadmin",
    "P25-crlf-in-query": "/a?x=1\r\nX-Evil: 1",
    "P25-lf-in-query": "/a?x=1\n",
    "P25-nul-in-query": "/a?\0",
    "P25-space-in-query": "/a?x=1 HTTP/1.1",
    "P1-fragment-in-query": "/a?x=1#y",
}

# Refused unless the route that the path belongs to opts in.
ODD: dict[str, tuple[str, PathOption]] = {
    "P5-letter": ("/api/%61dmin/x", "encoded_unreserved"),
    "P5-letter-in-tail": ("/api/docs/%73ecret", "encoded_unreserved"),
    "P5-tilde": ("/api/%7Euser", "encoded_unreserved"),
    "P5-tilde-small": ("/api/%7euser", "encoded_unreserved"),
    "P5-digit": ("/api/%31", "encoded_unreserved"),
    "P5-hyphen": ("/api/a%2db", "encoded_unreserved"),
    "P5-underscore": ("/api/a%5Fb", "encoded_unreserved"),
    "P5-dot-in-name": ("/api/file%2etxt", "encoded_unreserved"),
    "P6-small": ("/api/a%2fb", "encoded_slash"),
    "P6-capital": ("/api/a%2Fb", "encoded_slash"),
    "P6-last": ("/api/a%2f", "encoded_slash"),
    "P10-parameter": ("/api/admin;x=1", "semicolon"),
    "P10-bare": ("/api/admin;", "semicolon"),
    "P10-encoded": ("/api/admin%3bx=1", "semicolon"),
    "P10-encoded-capital": ("/api/admin%3Bx=1", "semicolon"),
}

UNCHANGED = {
    "root": "/",
    "plain": "/api/crud/forms/42",
    "trailing-slash": "/api/crud/forms/",
    "query": "/api/crud?a=b&c=d",
    "empty-query": "/api/crud?",
    "second-question-mark": "/api/crud?a=b?c",
    "query-is-not-a-path": "/api/crud?x=/../%2e%2e//;\\%zz",
    "query-raw-utf8": "/api/crud?q=\xc3\xa9",
    "dots-in-names": "/api/..a/b../...",
    "hidden-file": "/.well-known/x",
    "P1-encoded-fragment": "/foo/secret%23/bar",
    "P2-encoded-question-mark": "/secret%3f/public",
    "P3-query": "/api/private?path=/status",
    "P7-double-encoded": "/public/%252e%252e/admin",
    "P7-double-encoded-slash": "/public/a%252fb",
    "P14-looks-like-dots": "/api../admin",
    "P20-at": "/x/@evil.example/x",
    "utf8": "/api/caf%C3%A9",
    "space": "/api/a%20b",
    "sub-delims": "/api/a!$&'()*+,=:@b",
    "browser-leaves-raw": '/api/[a]|^{b}`"<>',
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_ambiguous_path_is_refused_on_every_route(raw: str) -> None:
    with pytest.raises(AmbiguousPathError):
        parse_request_target(raw)


@pytest.mark.parametrize("raw", NOT_A_PATH.values(), ids=NOT_A_PATH.keys())
def test_what_is_no_path_is_refused(raw: str) -> None:
    with pytest.raises(BadRequestError):
        parse_request_target(raw)


@pytest.mark.parametrize("raw", UNCHANGED.values(), ids=UNCHANGED.keys())
def test_a_path_with_one_reading_keeps_its_bytes(raw: str) -> None:
    target = parse_request_target(raw)
    path, question_mark, query = raw.partition("?")
    assert target == RequestTarget(path, query if question_mark else None, frozenset())


@pytest.mark.parametrize("number", [*range(0x21), 0x7F], ids=lambda number: f"P13-{number:02x}")
def test_no_control_character_gets_through_raw_or_encoded(number: int) -> None:
    with pytest.raises(AmbiguousPathError):
        parse_request_target(f"/a{chr(number)}b")
    if number != 0x20:
        with pytest.raises(AmbiguousPathError):
            parse_request_target(f"/a%{number:02x}b")


@pytest.mark.parametrize("character", "abcxyzABCXYZ0189-._~")
def test_every_encoded_unreserved_character_is_an_oddity(character: str) -> None:
    for escape in {f"%{ord(character):02x}", f"%{ord(character):02X}"}:
        assert parse_request_target(f"/a{escape}b").oddities == {"encoded_unreserved"}


@pytest.mark.parametrize("character", " !\"#$%&'()*+,:<=>?@[]^`{|}")
def test_an_escape_of_anything_else_is_no_oddity(character: str) -> None:
    assert parse_request_target(f"/a%{ord(character):02x}b").oddities == frozenset()


class TestFit:
    """`check_target_fits_route`: opt-ins, and spellings that lead elsewhere."""

    @staticmethod
    def check(table: RouteTable, raw: str) -> None:
        target = parse_request_target(raw)
        check_target_fits_route(target, table.match(target.path), table)

    @pytest.mark.parametrize(("raw", "option"), ODD.values(), ids=ODD.keys())
    def test_an_odd_path_is_refused_unless_the_route_opts_in(self, raw: str, option: PathOption) -> None:
        assert parse_request_target(raw).oddities == {option}
        with pytest.raises(AmbiguousPathError):
            self.check(RouteTable([build_route("/api/*")]), raw)
        self.check(RouteTable([build_route("/api/*", allow_in_path=frozenset({option}))]), raw)

    @pytest.mark.parametrize(("raw", "option"), ODD.values(), ids=ODD.keys())
    def test_an_opt_in_is_for_its_own_oddity_only(self, raw: str, option: PathOption) -> None:
        others = frozenset({"encoded_slash", "semicolon", "encoded_unreserved"}) - {option}
        with pytest.raises(AmbiguousPathError):
            self.check(RouteTable([build_route("/api/*", allow_in_path=others)]), raw)

    @pytest.mark.parametrize(("raw", "option"), ODD.values(), ids=ODD.keys())
    def test_an_odd_path_without_a_route_is_ambiguous_not_missing(self, raw: str, option: PathOption) -> None:
        with pytest.raises(AmbiguousPathError):
            self.check(RouteTable([build_route("/other")]), raw)

    def test_a_plain_path_without_a_route_is_left_to_the_404(self) -> None:
        self.check(RouteTable([build_route("/other")]), "/api/x")
        self.check(RouteTable([build_route("/other")]), "/api/a%20b")

    @pytest.mark.parametrize(
        ("raw", "other"),
        [
            pytest.param("/api/%61dmin/x", "/api/admin/*", id="P5-other-route"),
            pytest.param("/api/admin%2fx", "/api/admin/*", id="P6-other-route"),
            pytest.param("/api/a%2Fadmin", "/api/a/admin", id="P6-exact-route"),
            pytest.param("/api/admin;x=1", "/api/admin", id="P10-parameter-cut-off"),
            pytest.param("/api/admin;x=1/y", "/api/admin/*", id="P10-parameter-cut-out"),
            pytest.param("/api/admin%3bx/y", "/api/admin/*", id="P10-encoded-parameter"),
            pytest.param("/api/admin;a%2fb", "/api/admin", id="P10-parameter-with-slash"),
            pytest.param("/api/%24secret", "/api/$secret", id="reserved-character"),
            pytest.param("/api/secret%3fx", "/api/secret", id="P2-cut-at-question-mark"),
            pytest.param("/api/secret%23x", "/api/secret", id="P1-cut-at-fragment"),
            pytest.param("/api/%61/b%2fc", "/api/a/{x}", id="only-unreserved-decoded"),
            pytest.param("/%24/%3f/;", "/$/{x}/{y}", id="decoded-and-not-cut"),
            pytest.param("/b%2fc/admin;x", "/{x}/admin", id="P10-parameter-cut-off-and-nothing-decoded"),
            pytest.param("/api/%61dmin;x%2fy", "/api/admin", id="P10-parameter-cut-off-then-decoded"),
            pytest.param("/%61uth/login", None, id="own-endpoint"),
            pytest.param("/%61dmin/x", None, id="own-admin"),
            pytest.param("/auth%2flogin", None, id="own-endpoint-slash"),
            pytest.param("/auth/login;x", None, id="own-endpoint-parameter"),
            pytest.param("/auth/login%3fx", None, id="own-endpoint-query"),
        ],
    )
    def test_a_path_whose_other_spelling_leads_elsewhere_is_refused_in_spite_of_opt_ins(
        self, raw: str, other: str | None
    ) -> None:
        options = frozenset({"encoded_slash", "semicolon", "encoded_unreserved"})
        routes = [build_route("/*", allow_in_path=options), build_route("/api/*", allow_in_path=options)]
        if other is not None:
            self.check(RouteTable(routes), raw)
            routes.append(build_route(other, allow_in_path=options))
        with pytest.raises(AmbiguousPathError):
            self.check(RouteTable(routes), raw)

    def test_an_encoded_slash_in_a_named_segment_can_be_allowed(self) -> None:
        table = RouteTable([build_route("/api/files/{id}", allow_in_path=frozenset({"encoded_slash"}))])
        self.check(table, "/api/files/https%3A%2F%2Fexample.com%2Fa")

    def test_an_escape_that_leads_to_the_same_route_passes(self) -> None:
        self.check(RouteTable([build_route("/api/*"), build_route("/api/other")]), "/api/caf%C3%A9%20%24")

    def test_a_double_encoding_is_decoded_once_only(self) -> None:
        """P7: after one decoding it is `%2e%2e`, which leads nowhere else; the backend gets `%252e`."""
        table = RouteTable([build_route("/public/*", "/p/{path}"), build_route("/secret")])
        target = parse_request_target("/public/%252e%252e/admin")
        match = table.match(target.path)
        assert match is not None
        check_target_fits_route(target, match, table)
        assert build_upstream_target(match, target, "") == "/p/%252e%252e/admin"


_PIECES = st.sampled_from(
    [
        *(
            "/",
            "a",
            "admin",
            "public",
            "auth",
            "login",
            ".",
            "..",
            ";",
            "x=1",
            "//",
            "\\",
            "?",
            "#",
            "&",
            "%",
            "+",
            " ",
        ),
        *("%2e", "%2E", "%2f", "%2F", "%5c", "%3b", "%3f", "%23", "%25", "%252e", "%61", "%00", "%0a", "%20", "%24"),
        *("%c3%a9", "%ff", "%c0%ae", "\xe9", "\0", "\r\n", "$", "@", "*", "{x}", "http://evil.example"),
    ]
)
_TARGETS = st.one_of(
    st.lists(_PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces)),
    st.text(st.characters(max_codepoint=255), max_size=40),
)
_TABLE = RouteTable(
    [
        build_route("/*", "/all/{path}", allow_in_path=frozenset({"encoded_slash", "semicolon", "encoded_unreserved"})),
        build_route("/public/*", "/p/{path}", allow_in_path=frozenset({"encoded_slash", "semicolon"})),
        build_route("/public/{name}", "/n/{name}"),
        build_route("/a/admin/*", "/s/{path}"),
        build_route("/a/$", "/d"),
    ]
)


@given(_TARGETS)
def test_a_target_is_refused_or_kept_byte_for_byte(raw: str) -> None:
    try:
        target = parse_request_target(raw)
    except (AmbiguousPathError, BadRequestError):
        return
    assert target.path + ("" if target.query is None else "?" + target.query) == raw
    assert re.fullmatch(r"/[!-~]*", target.path)
    decoded = unquote_to_bytes(target.path).decode()
    assert not {".", ".."} & {segment.split(";")[0] for segment in decoded.split("/")}
    assert not re.search(r"[\x00-\x1f\x7f\\]", decoded)
    assert "//" not in target.path


@given(_TARGETS)
def test_what_passes_leads_to_one_route_however_it_is_decoded(raw: str) -> None:
    try:
        target = parse_request_target(raw)
        match = _TABLE.match(target.path)
        check_target_fits_route(target, match, _TABLE)
    except (AmbiguousPathError, BadRequestError):
        return
    if match is None:
        return
    for spelling in (decoded := unquote_to_bytes(target.path).decode(), re.sub(";[^/]*", "", decoded)):
        other = _TABLE.match(spelling)
        assert other is None or other.route is match.route
    sent = build_upstream_target(match, target, "/base")
    assert sent.startswith("/base/")
    assert not sent.startswith("//")
