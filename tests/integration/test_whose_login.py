"""Whose login it is: the rows L1 to L3 of what a callback must not do, and L8 and L9 of what was there before."""

from __future__ import annotations

import threading

import pytest

from tests.integration.login_answers import assert_refused
from tests.integration.login_world import ORIGIN, SESSION_COOKIE, Browser, World, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live


# Rows L1 to L3: whose login it is


def test_l1_a_callback_opened_in_another_browser_is_refused_and_spoils_nothing(world: World) -> None:
    app = world.build()
    alice, mallory = Browser(app), Browser(app)
    callback = alice.walk_to_callback()
    assert_refused(mallory.navigate(callback, site="cross-site"), "login_state_invalid")
    assert not mallory.is_logged_in()
    assert world.token_calls() == 0
    assert alice.navigate(callback, site="cross-site").status_code == 303
    assert alice.is_logged_in()


def test_l1_a_login_cookie_of_another_login_does_not_open_this_one(world: World) -> None:
    app = world.build()
    alice, mallory = Browser(app), Browser(app)
    callback = alice.walk_to_callback()
    mallory.start_login()
    (name,) = alice.login_cookie_names()
    (own,) = mallory.login_cookie_names()
    mallory.client.set_cookie(name, mallory.cookie(own) or "", domain="localhost")
    assert_refused(mallory.navigate(callback, site="cross-site"), "login_state_invalid")
    assert world.token_calls() == 0


@pytest.mark.parametrize("value", ["", "x", "1." + "a" * 43, "1." + "a" * 9000], ids=["empty", "odd", "wrong", "long"])
def test_l1_a_login_cookie_that_was_tampered_with_is_refused(world: World, value: str) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    (name,) = browser.login_cookie_names()
    bare = browser.app.test_client(use_cookies=False)
    answer = bare.get(callback, base_url=ORIGIN, headers={"Cookie": f"{name}={value}"})
    assert_refused(answer, "login_state_invalid")
    assert world.token_calls() == 0


def test_l1_two_values_for_one_login_cookie_are_refused(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    (name,) = browser.login_cookie_names()
    cookies = f"{name}=1.{'a' * 43}; {name}={browser.cookie(name)}"
    bare = browser.app.test_client(use_cookies=False)
    answer = bare.get(callback, base_url=ORIGIN, headers={"Cookie": cookies})
    assert_refused(answer, "login_state_invalid")
    assert world.token_calls() == 0


def test_l2_a_state_can_be_used_only_once(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    (name,) = browser.login_cookie_names()
    cookie = browser.cookie(name) or ""
    assert browser.navigate(callback, site="cross-site").status_code == 303
    assert world.token_calls() == 1
    browser.client.set_cookie(name, cookie, domain="localhost")
    assert_refused(browser.navigate(callback, site="cross-site"), "login_state_invalid")
    assert world.token_calls() == 1
    assert browser.is_logged_in()


def test_l2_of_two_callbacks_at_once_one_reaches_the_token_endpoint(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    (name,) = browser.login_cookie_names()
    cookie = f"{name}={browser.cookie(name)}"
    world.op.fail("/token", delay_ms=300)
    statuses: list[int] = []

    def come_back() -> None:
        bare = browser.app.test_client(use_cookies=False)
        statuses.append(bare.get(callback, base_url=ORIGIN, headers={"Cookie": cookie}).status_code)

    threads = [threading.Thread(target=come_back) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [303, 400, 400, 400, 400, 400]
    assert world.token_calls() == 1


def test_l3_two_tabs_log_in_at_once(world: World) -> None:
    browser = world.open_browser()
    first, second = browser.start_login("/one"), browser.start_login("/two")
    answers = [browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site") for url in (second, first)]
    assert [answer.headers["Location"] for answer in answers] == ["/two", "/one"]
    assert browser.is_logged_in()
    assert browser.login_cookie_names() == set()


def test_a_stolen_callback_tells_the_thief_nothing(world: World) -> None:
    app = world.build()
    alice, mallory = Browser(app), Browser(app)
    callback = alice.walk_to_callback(return_to="/secret-page")
    answer = mallory.navigate(callback, site="cross-site")
    query = query_of(callback)
    assert "secret-page" not in answer.text
    assert query["code"] not in answer.text
    assert query["state"] not in answer.text


# Rows L8 and L9: what was there before


def test_l8_each_login_has_a_new_session_and_the_one_before_is_dead(world: World) -> None:
    app = world.build()
    browser, thief = Browser(app), Browser(app)
    browser.log_in("alice")
    old = browser.cookie() or ""
    browser.log_in("alice")
    assert browser.cookie() != old
    assert browser.is_logged_in()
    thief.client.set_cookie(SESSION_COOKIE, old, domain="localhost")
    assert thief.get_session().headers["X-BFF-Error"] == "session_expired"


def test_l8_a_session_is_ended_although_its_strict_cookie_does_not_come_back_with_the_redirect(world: World) -> None:
    app = world.build()
    browser, thief = Browser(app), Browser(app)
    browser.log_in("alice")
    old = browser.cookie() or ""
    callback = browser.walk_to_callback("alice")
    (name,) = browser.login_cookie_names()
    bare = app.test_client(use_cookies=False)
    answer = bare.get(callback, base_url=ORIGIN, headers={"Cookie": f"{name}={browser.cookie(name)}"})
    assert answer.status_code == 303
    thief.client.set_cookie(SESSION_COOKIE, old, domain="localhost")
    assert not thief.is_logged_in()


def test_l8_a_planted_session_id_never_becomes_a_session(world: World) -> None:
    browser = world.open_browser()
    planted = "p" * 43
    browser.client.set_cookie(SESSION_COOKIE, planted, domain="localhost")
    browser.log_in()
    assert browser.cookie() != planted
    thief = Browser(browser.app)
    thief.client.set_cookie(SESSION_COOKIE, planted, domain="localhost")
    assert not thief.is_logged_in()


def test_l9_a_login_as_somebody_else_leaves_nothing_of_the_user_before(world: World) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    browser.log_in("admin-ann")
    token = browser.csrf_token()
    browser.at_provider.cookies.clear()
    browser.log_in("bob")
    told = browser.get_session().json
    assert told is not None
    assert told["user"]["id"] == "bob"
    assert told["user"]["roles"] == ["user"]
    assert told["csrf_token"] != token


def test_a_login_that_fails_leaves_the_session_before_it_alone(world: World) -> None:
    browser = world.open_browser()
    browser.log_in("alice")
    callback = browser.walk_to_callback()
    world.op.fail("/token", status=400, body={"error": "invalid_grant"})
    assert_refused(browser.navigate(callback, site="cross-site"), "login_failed")
    assert browser.is_logged_in()
