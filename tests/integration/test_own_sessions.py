"""A user's own sessions: what is told of them, how one is ended, and who cannot."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.core.cross_site import build_csrf_token
from tests.integration.login_world import (
    CALL,
    NAVIGATION,
    ORIGIN,
    SESSION_COOKIE,
    Browser,
    World,
    set_back_last_use,
    world,
)
from tests.integration.session_answers import assert_refused, clears_cookies

__all__ = ["world"]

pytestmark = pytest.mark.live

PATH = "/api/me/sessions"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def log_in(app: Flask, user: str = "alice", device: str = "") -> Browser:
    browser = Browser(app)
    if device:
        browser.client.environ_base["HTTP_USER_AGENT"] = device
    browser.log_in(user)
    return browser


def list_sessions(browser: Browser) -> list[dict[str, Any]]:
    answer = browser.call("GET", PATH)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    assert set(answer.json) == {"sessions"}
    sessions: list[dict[str, Any]] = answer.json["sessions"]
    return sessions


def find_own_id(browser: Browser) -> str:
    [own] = [session["id"] for session in list_sessions(browser) if session["current"]]
    return str(own)


def end(browser: Browser, session_id: str, **headers: str) -> TestResponse:
    return browser.call(
        "DELETE", f"{PATH}/{session_id}", headers={"X-CSRF-Token": browser.csrf_token(), "Origin": ORIGIN, **headers}
    )


# What is told


def test_a_user_sees_where_the_user_is_logged_in(world: World) -> None:
    app = world.build()
    here = log_in(app, device="Firefox")
    log_in(app, device="Chrome")
    log_in(app, "bob", device="Opera")
    sessions = list_sessions(here)
    assert {(session["device"], session["current"]) for session in sessions} == {("Firefox", True), ("Chrome", False)}
    for session in sessions:
        assert set(session) == {
            *("id", "current", "device", "created_at", "last_seen_at", "expires_at", "absolute_expires_at")
        }
        times = [session[name] for name in ("created_at", "last_seen_at", "expires_at", "absolute_expires_at")]
        assert all(TIME.fullmatch(time) for time in times)
        assert times == sorted(times)


def test_the_session_that_was_active_last_comes_first(world: World) -> None:
    app = world.build()
    first, second = log_in(app, device="first"), log_in(app, device="second")
    set_back_last_use(world, first, 500)
    assert [session["device"] for session in list_sessions(second)] == ["second", "first"]
    set_back_last_use(world, second, 1000)
    first.get_session()  # counts as activity
    assert [session["device"] for session in list_sessions(first)] == ["first", "second"]


def test_asking_counts_as_activity(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    set_back_last_use(world, browser, 1000)
    [session] = list_sessions(browser)
    told = browser.call("GET", "/api/auth/session?slide=false").json
    assert told is not None
    assert told["expires_in"] > 1700
    assert session["last_seen_at"] >= session["created_at"]
    services = browser.app.extensions["bff"]
    record = services.session_store.find(browser.cookie())
    assert services.clock() - record.last_seen_at < 100


def test_an_ended_session_and_one_that_is_over_are_not_listed(world: World) -> None:
    app = world.build()
    here, left, idle = log_in(app), log_in(app), log_in(app)
    left.log_out()
    set_back_last_use(world, idle, 1900)
    assert [session["id"] for session in list_sessions(here)] == [find_own_id(here)]


def test_an_id_is_the_reference_that_backends_see_and_worthless_as_a_cookie(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    reference = find_own_id(browser)
    assert browser.app.extensions["bff"].session_store.find(browser.cookie()).reference == reference
    thief = Browser(browser.app)
    thief.client.set_cookie(SESSION_COOKIE, reference, domain="localhost")
    assert not thief.is_logged_in()
    answer = browser.call("GET", PATH)
    assert (browser.cookie() or "x") not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


# The end


def test_a_session_is_ended_from_another_device(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    reference, own = find_own_id(there), find_own_id(here)
    capfd.readouterr()
    answer = end(here, reference)
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert not answer.headers.getlist("Set-Cookie")
    assert_refused(there.get_session(), "session_expired", 401)
    assert here.is_logged_in()
    assert [session["id"] for session in list_sessions(here)] == [own]
    [ended] = [json.loads(line) for line in capfd.readouterr().out.splitlines() if '"session.ended"' in line]
    told = (ended["session"], ended["user_id"], ended["reason"], ended["by_session"])
    assert told == (reference, "alice", "ended_by_user", own)
    metrics = app.extensions["bff"].metrics.render("")[1].decode()
    assert 'bff_sessions_ended_total{reason="ended_by_user"} 1' in metrics


def test_ending_the_session_that_asks_takes_its_cookies(world: World) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    answer = end(here, find_own_id(here))
    assert answer.status_code == 204
    assert clears_cookies(answer)
    assert not here.is_logged_in()
    assert there.is_logged_in()


def test_what_was_ended_is_not_there_a_second_time(world: World) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    reference = find_own_id(there)
    assert end(here, reference).status_code == 204
    assert_refused(end(here, reference), "route_not_found", 404)


def test_nobody_ends_the_session_of_another_user(world: World) -> None:
    app = world.build()
    alice, bob = log_in(app), log_in(app, "bob")
    of_bob, of_nobody = end(alice, find_own_id(bob)), end(alice, "0" * 32)
    assert_refused(of_bob, "route_not_found", 404)
    assert bob.is_logged_in()
    told = [{**(answer.json or {}), "request_id": ""} for answer in (of_bob, of_nobody)]
    assert told[0] == told[1], "the answer tells that the session exists"
    assert of_bob.mimetype == "application/problem+json"


@pytest.mark.parametrize("odd", ["*", "all", "%c3%a9", "x" * 3000])
def test_an_odd_id_names_nothing(world: World, odd: str) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert_refused(end(browser, odd), "route_not_found", 404)
    assert browser.is_logged_in()


@pytest.mark.parametrize("odd", ["%2e%2e", "a;b", "a%2fb", "%00", "{reference}%2f", "%30" * 32])
def test_an_id_with_a_second_spelling_is_refused(world: World, odd: str) -> None:
    browser = world.open_browser()
    browser.log_in()
    reference = find_own_id(browser)
    raw = f"{PATH}/{odd.replace('{reference}', reference)}"
    headers = {"X-CSRF-Token": browser.csrf_token()}
    # As gunicorn tells it: the target as it came beside the decoded path.
    answer = browser.call("DELETE", f"{PATH}/{reference}", headers=headers, environ_overrides={"RAW_URI": raw})
    assert_refused(answer, "ambiguous_path", 400)
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", PATH), ("POST", PATH), ("GET", f"{PATH}/abc"), ("PUT", f"{PATH}/abc")]
)
def test_nothing_else_can_be_done_with_sessions(world: World, method: str, path: str) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.call(method, path, headers={"X-CSRF-Token": browser.csrf_token(), "Origin": ORIGIN})
    assert_refused(answer, "method_not_allowed", 405)
    assert browser.is_logged_in()


# Who may ask


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_without_a_session_it_is_401(world: World, method: str) -> None:
    path = PATH if method == "GET" else f"{PATH}/{'0' * 32}"
    browser = world.open_browser()
    answer = browser.call(method, path)
    assert_refused(answer, "not_authenticated", 401)
    assert answer.json is not None
    assert answer.json["login_url"] == f"{ORIGIN}/auth/login"
    browser.client.set_cookie(SESSION_COOKIE, "x" * 43, domain="localhost")
    answer = browser.call(method, path, headers={"X-CSRF-Token": build_csrf_token("x" * 43)})
    assert_refused(answer, "session_expired", 401)
    assert not answer.headers.getlist("Set-Cookie")


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é"])
def test_b1_an_end_without_the_sessions_token_is_refused(world: World, token: str) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    assert_refused(end(here, find_own_id(there), **{"X-CSRF-Token": token}), "csrf_failed", 403)
    assert_refused(end(here, find_own_id(there), **{"X-CSRF-Token": there.csrf_token()}), "csrf_failed", 403)
    assert there.is_logged_in()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, id="evil"),
        pytest.param({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, id="B2-null"),
        pytest.param({"Origin": "http://sub.localhost:8000", "Sec-Fetch-Site": "same-site"}, id="sibling"),
    ],
)
def test_b1_other_sites_are_refused_even_with_the_token(world: World, headers: dict[str, str]) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    assert_refused(end(here, find_own_id(there), **headers), "csrf_failed", 403)
    assert_refused(here.call("GET", PATH, headers=headers), "csrf_failed", 403)
    assert there.is_logged_in()


def test_the_list_is_no_page(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert_refused(browser.navigate(PATH), "csrf_failed", 403)
    image = {**NAVIGATION, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}
    assert_refused(browser.client.get(PATH, base_url=ORIGIN, headers=image), "csrf_failed", 403)


def test_an_allowed_origin_may_list_and_end(world: World) -> None:
    app = world.build(cors={"allow_origins": ["http://localhost:5173"]})
    here, there = log_in(app), log_in(app)
    dev = {"Origin": "http://localhost:5173", "Sec-Fetch-Site": "same-site"}
    path = f"{PATH}/{find_own_id(there)}"
    asked = {**dev, "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-csrf-token"}
    preflight = here.client.open(path, method="OPTIONS", base_url=ORIGIN, headers={**CALL, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Methods"] == "DELETE"
    answer = here.call("DELETE", path, headers={**dev, "X-CSRF-Token": here.csrf_token()})
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
    assert not there.is_logged_in()


# What goes wrong


def test_o1_a_store_that_is_away_is_503_and_the_cookie_stays(world: World) -> None:
    app = world.build(session={"directory": str(world.directory / "state"), "local_cache_seconds": 0})
    here, there = log_in(app), log_in(app)
    reference, token = find_own_id(there), here.csrf_token()
    state = world.directory / "state"
    state.rename(world.directory / "away")
    state.write_text("not a directory")
    for answer in (
        here.call("GET", PATH),
        here.call("DELETE", f"{PATH}/{reference}", headers={"X-CSRF-Token": token}),
    ):
        assert_refused(answer, "store_unavailable", 503)
        assert not answer.headers.getlist("Set-Cookie")
    state.unlink()
    (world.directory / "away").rename(state)
    assert here.is_logged_in()
    assert there.is_logged_in()


def test_l15_a_provider_that_is_away_keeps_no_session_alive(world: World) -> None:
    app = world.build()
    here, there = log_in(app), log_in(app)
    reference = find_own_id(there)
    world.op.fail("/token/revocation", status=503)
    assert end(here, reference).status_code == 204
    assert not there.is_logged_in()


def test_the_tokens_of_an_ended_session_are_revoked(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert end(browser, find_own_id(browser)).status_code == 204
    assert len(world.op.events("grant.revoked")) == 1


# session.max_per_user


def test_a_login_too_many_ends_the_oldest_session(world: World) -> None:
    app = world.build(session={"directory": str(world.directory / "state"), "max_per_user": 2})
    browsers = [log_in(app), log_in(app, "bob"), log_in(app), log_in(app)]
    assert [browser.is_logged_in() for browser in browsers] == [False, True, True, True]
    assert_refused(browsers[0].get_session(), "session_expired", 401)
    assert len(list_sessions(browsers[3])) == 2
