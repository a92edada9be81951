"""What a browser may ask of a login: how often (row L4), with which parameters (L10), and where it may lead (R)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.login_answers import assert_refused
from tests.integration.login_world import ORIGIN, UNSAFE_RETURNS, Browser, World, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live


# Row L4: how many


def test_l4_a_browser_keeps_the_five_youngest_logins(world: World) -> None:
    browser = world.open_browser()
    for _ in range(8):
        browser.start_login()
    assert len(browser.login_cookie_names()) == 5


def test_l4_too_many_logins_from_one_address_are_refused_before_anything_is_kept(world: World) -> None:
    browser = world.open_browser(limits={"login_starts": "3/hour"})
    for _ in range(3):
        browser.start_login()
    pushed = len(world.op.events("pushed_authorization_request.success"))
    answer = browser.navigate("/auth/login")
    assert_refused(answer, "rate_limited", 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert len(world.op.events("pushed_authorization_request.success")) == pushed == 3


# Row L10: what the browser may ask for


def test_l10_only_allow_listed_parameters_pass_and_ours_are_never_overridden(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    evil = {
        "scope": "admin",
        "redirect_uri": "https://evil.example/cb",
        "client_id": "evil",
        "state": "evil",
        "nonce": "evil",
        "response_type": "token",
        "response_mode": "fragment",
        "code_challenge": "evil",
        "request": "evil",
        "request_uri": "https://evil.example",
        "resource": "evil",
        "claims": "{}",
        "unknown": "evil",
    }
    query = query_of(browser.start_login(**evil, login_hint="ann@example.com", prompt="login"))
    assert query["login_hint"] == "ann@example.com"
    assert query["prompt"] == "login"
    assert query["scope"].startswith("openid ")
    assert query["redirect_uri"] == f"{ORIGIN}/auth/callback"
    assert "evil" not in "".join(query.values())
    assert not {"response_mode", "request", "request_uri", "resource", "claims", "unknown"} & query.keys()


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("return_to=/a&return_to=/b", id="return-to-twice"),
        pytest.param("prompt=login&prompt=none", id="prompt-twice"),
        pytest.param("scope=a&scope=b", id="unknown-twice"),
        pytest.param("login_hint=" + "x" * 1025, id="long"),
        pytest.param("login_hint=a%0d%0aX:b", id="line-break"),
        pytest.param("login_hint=a%00", id="nul"),
        pytest.param("max_age=soon", id="max-age-text"),
        pytest.param("max_age=-1", id="max-age-negative"),
        pytest.param("max_age=9999999999", id="max-age-huge"),
    ],
)
def test_l10_a_request_that_can_be_read_in_two_ways_or_not_at_all_is_refused(world: World, query: str) -> None:
    browser = world.open_browser()
    assert_refused(browser.navigate(f"/auth/login?{query}"), "bad_request")
    assert browser.login_cookie_names() == set()
    assert world.op.events() == []


def test_a_max_age_is_asked_for_and_held_to(world: World) -> None:
    browser = world.open_browser(oidc={"clock_skew_seconds": 0})
    browser.log_in()
    url = browser.start_login(max_age="3600")
    assert browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site").status_code == 303
    world.op.mutate(id_token={"set": {"auth_time": 1_000_000_000}})
    url = browser.start_login(max_age="3600")
    assert_refused(browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site"), "login_failed")


@pytest.mark.parametrize("path", ["/auth/login", "/auth/callback"])
def test_other_methods_are_refused(world: World, path: str) -> None:
    answer = world.open_browser().call("DELETE", path)
    assert answer.status_code == 405


# Row R: where a login may lead


@pytest.mark.parametrize("return_to", UNSAFE_RETURNS)
def test_r_an_unsafe_return_address_starts_no_login(world: World, return_to: str) -> None:
    browser = world.open_browser()
    answer = browser.navigate(f"/auth/login?return_to={quote(return_to, safe='')}")
    assert_refused(answer, "unsafe_return_to")
    assert "Location" not in answer.headers
    assert browser.login_cookie_names() == set()
    assert world.op.events() == []


def test_r_an_address_that_is_no_longer_allowed_is_refused_at_the_callback(world: World) -> None:
    before = world.open_browser(cors={"allow_origins": ["http://localhost:5173"]})
    callback = before.walk_to_callback(return_to="http://localhost:5173/app")
    after = Browser(world.build(cors={"allow_origins": []}))
    after.client._cookies = before.client._cookies
    assert_refused(after.navigate(callback, site="cross-site"), "unsafe_return_to")
    assert world.token_calls() == 0
