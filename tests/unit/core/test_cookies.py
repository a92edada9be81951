"""Cookies are read strictly, never picked from, and written so that browsers keep to them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import pytest

from app.core.cookies import (
    CSRF_COOKIE_NAME,
    build_cookie_line,
    build_delete_cookie,
    build_set_cookie,
    find_cookie_values,
    get_set_cookie_name,
    is_own_cookie_name,
    login_cookie_name,
    parse_single_session_cookie,
    session_cookie_name,
)
from app.core.errors import BadRequestError

NAME = "__Host-Http-bff_session"


@pytest.mark.parametrize(
    ("https", "domain", "name"),
    [
        (True, "", "__Host-Http-bff_session"),
        (True, "example.com", "__Secure-bff_session"),
        (False, "", "bff_session"),
        (False, "example.com", "bff_session"),
    ],
)
def test_the_session_cookies_name_follows_the_deployment(https: bool, domain: str, name: str) -> None:
    assert session_cookie_name("bff_session", https=https, domain=domain) == name


def test_a_login_cookie_is_named_after_its_attempt() -> None:
    assert login_cookie_name("abc", https=True) == "__Host-Http-bff_login_abc"
    assert login_cookie_name("abc", https=False) == "bff_login_abc"


@pytest.mark.parametrize(
    ("line", "values"),
    [
        pytest.param(f"{NAME}=abc", ["abc"], id="alone"),
        pytest.param(f"a=b; {NAME}=abc; c=d", ["abc"], id="among-others"),
        pytest.param(f"a=b;{NAME}=abc;c=d", ["abc"], id="no-spaces"),
        pytest.param(f"{NAME}=", [""], id="empty"),
        pytest.param(f"{NAME}=a=b", ["a=b"], id="equals-in-value"),
        pytest.param(f'{NAME}="abc"', ['"abc"'], id="quotes-are-not-taken-off"),
        pytest.param(f"{NAME}=abc; {NAME}=def", ["abc", "def"], id="two"),
        pytest.param(f"x{NAME}=abc", [], id="longer-name"),
        pytest.param(f"{NAME}x=abc", [], id="longer-name-behind"),
        pytest.param(NAME.lower() + "=abc", [], id="other-case"),
        pytest.param(f"{NAME.lower()}=abc; {NAME}=def", ["def"], id="both-cases"),
        pytest.param("bff_session=abc", [], id="without-prefix"),
        pytest.param(f"={NAME}=abc", [], id="nameless"),
        pytest.param(NAME, [], id="no-value"),
        pytest.param(f"a={NAME}=abc", [], id="in-another-value"),
        pytest.param(f"a=b,{NAME}=abc", [], id="comma-does-not-part"),
        pytest.param("", [], id="nothing"),
        pytest.param(";;; ;", [], id="nonsense"),
    ],
)
def test_a_cookie_is_found_by_its_exact_name(line: str, values: list[str]) -> None:
    assert find_cookie_values([line], NAME) == values
    if len(values) < 2:
        assert parse_single_session_cookie([line], NAME) == (values[0] if values else None)


def test_no_cookie_line_is_no_session() -> None:
    assert parse_single_session_cookie([], NAME) is None


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"{NAME}=abc; {NAME}=def"], id="two-values"),
        pytest.param([f"{NAME}=abc; {NAME}="], id="one-empty"),
        pytest.param([f'{NAME}=abc; {NAME}="abc"'], id="one-quoted"),
        pytest.param([f"{NAME}=abc", f"{NAME}=def"], id="H8-two-lines-two-values"),
        pytest.param([f"{NAME}=abc", "a=b"], id="H8-two-lines"),
    ],
)
def test_two_session_cookies_are_refused_not_picked_from(lines: list[str]) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_single_session_cookie(lines, NAME)
    assert "abc" not in caught.value.detail


def test_the_same_value_twice_is_one_session() -> None:
    assert parse_single_session_cookie([f"{NAME}=abc; {NAME}=abc"], NAME) == "abc"


@pytest.mark.parametrize(
    "name",
    [
        *(NAME, "bff_session", "__Secure-bff_session", "__Host-bff_session", "__Http-bff_session"),
        *("__host-http-bff_session", "__SECURE-bff_session", "bff_csrf", "__Host-bff_csrf", "bff_login_abc"),
        *("__Host-Http-bff_login_abc", "bff_login_"),
    ],
)
@pytest.mark.parametrize("session_cookie", [NAME, "bff_session", "__Secure-bff_session"])
def test_our_cookies_are_ours_under_every_prefix(name: str, session_cookie: str) -> None:
    assert is_own_cookie_name(name, session_cookie)


@pytest.mark.parametrize(
    "name", ["theme", "session", "bff_sessions", "BFF_SESSION", "__Host-theme", "", "my_bff_session"]
)
def test_other_cookies_are_not_ours(name: str) -> None:
    assert not is_own_cookie_name(name, NAME)


class TestCookieLine:
    def test_only_allowed_cookies_go_on(self) -> None:
        lines = [f"theme=dark; {NAME}=abc; lang=de; theme=light"]
        assert build_cookie_line(lines, {"theme"}, NAME) == "theme=dark; theme=light"
        assert build_cookie_line(lines, {"other"}, NAME) is None
        assert build_cookie_line([], {"theme"}, NAME) is None

    def test_H10_our_cookies_never_go_on_even_where_they_are_listed(self) -> None:
        ours = [NAME, "bff_session", "bff_csrf", "__Host-Http-bff_login_x"]
        lines = ["; ".join(f"{name}=secret" for name in ours)]
        assert build_cookie_line(lines, set(ours), NAME) is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a=b", "a"),
        (" a = b; Path=/", "a"),
        ("a=b=c", "a"),
        ("a=", "a"),
        ("=a=b", ""),
        ("a", ""),
        ("", ""),
        ("; a=b", ""),
        ("__Host-Http-bff_session=x; Secure", "__Host-Http-bff_session"),
    ],
)
def test_the_name_of_a_set_cookie_line_is_the_one_a_browser_stores(line: str, name: str) -> None:
    assert get_set_cookie_name(line) == name


class TestWriting:
    SECURE: dict[str, Any] = {"secure": True, "http_only": True, "same_site": "Strict"}

    def test_a_session_cookie_line(self) -> None:
        assert build_set_cookie(NAME, "abc", **self.SECURE) == f"{NAME}=abc; Path=/; Secure; HttpOnly; SameSite=Strict"

    def test_every_attribute_has_its_place(self) -> None:
        line = build_set_cookie(
            "__Secure-x",
            "v",
            secure=True,
            http_only=False,
            same_site="None",
            domain="example.com",
            path="/a",
            max_age=600,
        )
        assert line == "__Secure-x=v; Path=/a; Domain=example.com; Max-Age=600; Secure; SameSite=None"

    def test_the_csrf_cookie_can_be_read_by_script(self) -> None:
        line = build_set_cookie(CSRF_COOKIE_NAME, "t", secure=False, http_only=False, same_site="Lax")
        assert line == "bff_csrf=t; Path=/; SameSite=Lax"

    def test_a_deletion_repeats_the_flags_the_prefix_asks_for(self) -> None:
        line = build_delete_cookie(NAME, **self.SECURE)
        assert line == (
            f"{NAME}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        )
        parsed = SimpleCookie(line)[NAME]
        assert (parsed["secure"], parsed["httponly"], parsed["max-age"]) == (True, True, "0")

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"value": "a;b"}, id="semicolon"),
            pytest.param({"value": "a\r\nSet-Cookie: x=y"}, id="line-break"),
            pytest.param({"value": "a b"}, id="space"),
            pytest.param({"value": 'a"b'}, id="quote"),
            pytest.param({"value": "a,b"}, id="comma"),
            pytest.param({"value": "a\\b"}, id="backslash"),
            pytest.param({"value": "\u00e9"}, id="not-ascii"),
            pytest.param({"name": "a=b"}, id="equals-in-name"),
            pytest.param({"name": ""}, id="no-name"),
            pytest.param({"name": "a;b"}, id="semicolon-in-name"),
            pytest.param({"path": "/;Domain=evil.example"}, id="path"),
            pytest.param({"domain": "x\r\ny"}, id="domain"),
            pytest.param({"name": "x", "secure": False, "same_site": "None"}, id="none-without-secure"),
            pytest.param({"secure": False}, id="prefix-without-secure"),
            pytest.param({"name": "__Secure-x", "secure": False}, id="secure-prefix-without-secure"),
            pytest.param({"domain": "example.com"}, id="host-prefix-with-domain"),
            pytest.param({"path": "/a"}, id="host-prefix-with-path"),
            pytest.param({"http_only": False}, id="http-prefix-without-httponly"),
        ],
    )
    def test_what_a_browser_would_misread_or_drop_is_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="cookie"):
            build_set_cookie(**{"name": NAME, "value": "abc", **self.SECURE, **fields})
