"""The logout against the real OpenID Provider: what it ends, here and there."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.login_world import NAVIGATION, ORIGIN, SESSION_COOKIE, Browser, World, query_of, world
from tests.integration.session_answers import assert_refused, clears_cookies, get_path
from tests.support.opwalk import walk

__all__ = ["world"]

pytestmark = pytest.mark.live

FORM = {**NAVIGATION, "Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}


def test_a_logout_ends_the_session_here_and_then_at_the_provider(world: World) -> None:
    browser = world.open_browser()
    browser.log_in("alice")
    session_id = browser.cookie() or ""
    answer = browser.log_out(json={"return_to": "/bye?x=1"})
    assert answer.status_code == 200
    assert clears_cookies(answer)
    assert answer.json is not None
    assert set(answer.json) == {"logout_url"}
    assert answer.json["logout_url"].startswith(f"{ORIGIN}/auth/logout/continue?ticket=")

    thief = Browser(browser.app)
    thief.client.set_cookie(SESSION_COOKIE, session_id, domain="localhost")
    assert_refused(thief.get_session(), "session_expired", 401)
    assert len(world.op.events("grant.revoked")) == 1

    onward = browser.navigate(get_path(answer.json["logout_url"]))
    assert onward.status_code == 302
    query = query_of(onward.headers["Location"])
    assert onward.headers["Location"].startswith(f"{world.op.issuer}/session/end?")
    assert query["id_token_hint"] in world.op.secrets("id_token")
    assert query["client_id"] == world.op.basic_client.client_id
    assert query["post_logout_redirect_uri"] == f"{ORIGIN}/auth/logged-out"

    back = walk(browser.at_provider, onward.headers["Location"], stop_at=f"{ORIGIN}/auth/logged-out")
    assert isinstance(back, str)
    assert query_of(back)["state"] == query["state"]
    assert len(world.op.events("end_session.success")) == 1
    done = browser.navigate(get_path(back), site="cross-site")
    assert (done.status_code, done.headers["Location"]) == (302, "/bye?x=1")


def test_without_a_return_address_the_way_ends_at_a_page(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out()
    assert answer.json is not None
    onward = browser.navigate(get_path(answer.json["logout_url"]))
    back = walk(browser.at_provider, onward.headers["Location"], stop_at=f"{ORIGIN}/auth/logged-out")
    assert isinstance(back, str)
    page = browser.navigate(get_path(back), site="cross-site")
    assert page.status_code == 200
    assert "You are logged out" in page.text
    assert 'href="/auth/login"' in page.text


def test_the_id_token_is_seen_in_one_redirect_and_nowhere_else(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out()
    assert answer.json is not None
    onward = browser.navigate(get_path(answer.json["logout_url"]))
    (id_token,) = world.op.secrets("id_token")
    assert id_token not in answer.text + str(answer.headers)
    assert onward.text == ""
    assert onward.headers["Cache-Control"] == "no-store"


def test_a_form_is_answered_with_a_redirect(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logout?return_to=/bye")
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    assert token == browser.csrf_token()
    answer = browser.client.post(
        "/auth/logout", base_url=ORIGIN, headers=FORM, data={"csrf_token": token, "return_to": "/bye"}
    )
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{ORIGIN}/auth/logout/continue?ticket=")
    assert clears_cookies(answer)
    assert not browser.is_logged_in()


def test_a_provider_without_a_logout_has_no_logout_url(world: World) -> None:
    world.op.mutate(discovery={"drop": ["end_session_endpoint"]})
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out(query_string={"return_to": "/bye"})
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    browser.log_in()
    token = browser.csrf_token()
    form = {"csrf_token": token, "return_to": "/bye"}
    answer = browser.client.post("/auth/logout", base_url=ORIGIN, headers=FORM, data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/bye")


def test_nobody_who_is_not_logged_in_is_refused_a_logout(world: World) -> None:
    browser = world.open_browser()
    answer = browser.call("POST", "/auth/logout")
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    browser.client.set_cookie(SESSION_COOKIE, "x" * 43, domain="localhost")
    assert_refused(browser.call("POST", "/auth/logout"), "csrf_failed", 403)


def test_a_logout_ends_one_session_of_a_user_and_not_the_others(world: World) -> None:
    app = world.build()
    here, there = Browser(app), Browser(app)
    here.log_in("alice")
    there.log_in("alice")
    here.log_out()
    assert not here.is_logged_in()
    assert there.is_logged_in()


def test_what_the_provider_is_told_leads_back_to_us_only(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out(json={"return_to": "/bye"})
    assert answer.json is not None
    location = browser.navigate(get_path(answer.json["logout_url"])).headers["Location"]
    assert "bye" not in location
    assert requests.get(location, timeout=10).status_code == 200
    assert urlsplit(query_of(location)["post_logout_redirect_uri"]).path == "/auth/logged-out"
