"""The cookies of logins under way (attack rows L1, L3 and L4)."""

from __future__ import annotations

import pytest

from app.services.login_cookies import LoginCookies, LoginCookieValue, parse_login_cookie

SECRET = "s" * 43
STATE = "t" * 43


def test_a_login_cookie_is_bound_to_its_state_and_says_no_more_than_it_must() -> None:
    line = LoginCookies(https=True).build_for(STATE, LoginCookieValue(1_700_000_000, SECRET))
    name, _, rest = line.partition("=")
    assert name.startswith("__Host-Http-bff_login_")
    assert STATE not in line
    value, *flags = rest.split("; ")
    assert value == f"1700000000.{SECRET}"
    assert set(flags) == {"Path=/", "Max-Age=600", "Secure", "HttpOnly", "SameSite=Lax"}


def test_on_plain_http_there_is_no_prefix_that_browsers_would_refuse() -> None:
    line = LoginCookies(https=False).build_for(STATE, LoginCookieValue(1, SECRET))
    assert line.startswith("bff_login_")
    assert "Secure" not in line


def test_two_logins_have_two_cookies() -> None:
    cookies = LoginCookies(https=True)
    assert cookies.build_name(STATE) != cookies.build_name("u" * 43)


def test_a_removal_has_the_flags_without_which_browsers_ignore_it() -> None:
    line = LoginCookies(https=True).build_removal("__Host-Http-bff_login_x")
    assert {"Max-Age=0", "Path=/", "Secure", "HttpOnly"} <= set(line.split("; "))


@pytest.mark.parametrize(
    "value", ["", ".", f"1.{SECRET}x", f"1.{SECRET[1:]}", f"x.{SECRET}", SECRET, f"-1.{SECRET}", f"1.{SECRET}\n"]
)
def test_a_value_that_no_login_ever_set_is_none(value: str) -> None:
    assert parse_login_cookie(value) is None


def test_a_value_is_read_back() -> None:
    assert parse_login_cookie(f"17.{SECRET}") == LoginCookieValue(17, SECRET)
    assert SECRET not in repr(parse_login_cookie(f"17.{SECRET}"))


def test_beyond_five_the_oldest_go_and_odd_ones_before_them() -> None:
    held = {f"bff_login_{start}": f"{start}.{SECRET}" for start in (30, 10, 50, 20, 40)}
    held |= {"bff_login_odd": "odd", "bff_session": "x", "other": "y"}
    cookies = LoginCookies(https=False)
    assert cookies.find_surplus(held) == ["bff_login_odd", "bff_login_10"]


def test_up_to_four_others_may_stay() -> None:
    held = {f"bff_login_{start}": f"{start}.{SECRET}" for start in range(4)}
    assert LoginCookies(https=False).find_surplus(held) == []


def test_cookies_of_the_other_scheme_are_not_ours_to_clear() -> None:
    held = {f"bff_login_{start}": f"{start}.{SECRET}" for start in range(9)}
    assert LoginCookies(https=True).find_surplus(held) == []
