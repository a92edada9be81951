"""The session endpoint: what it tells and to whom, and what keeps a session (row L19)."""

from __future__ import annotations

import json

import pytest

from tests.integration.login_world import CALL, ORIGIN, SESSION_COOKIE, World, set_back_last_use, world
from tests.integration.session_answers import assert_refused

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_without_a_cookie_nobody_is_authenticated(world: World) -> None:
    answer = world.open_browser().get_session()
    assert_refused(answer, "not_authenticated", 401)
    assert answer.mimetype == "application/problem+json"
    told = json.loads(answer.text)
    assert told["authenticated"] is False
    assert told["login_url"] == f"{ORIGIN}/auth/login"
    assert told["code"] == "not_authenticated"


@pytest.mark.parametrize(
    "cookie",
    ["x" * 43, "", "../../x", "x" * 10_000, "a%00b", "x" * 42 + "é"],
    ids=["43", "empty", "path", "10k", "nul", "odd"],
)
def test_l19_a_cookie_that_names_no_session_is_401_and_stays(world: World, cookie: str) -> None:
    bare = world.build().test_client(use_cookies=False)
    headers = {**CALL, "Cookie": f"{SESSION_COOKIE}={cookie}"}
    answer = bare.get("/api/auth/session", base_url=ORIGIN, headers=headers)
    assert_refused(answer, "session_expired", 401)
    assert json.loads(answer.text)["authenticated"] is False
    assert not answer.headers.getlist("Set-Cookie")


def test_the_alias_tells_the_same(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert browser.call("GET", "/auth/session").json == browser.get_session().json
    assert browser.call("HEAD", "/api/auth/session").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "slides"),
    [
        ("GET", "/api/auth/session", True),
        ("GET", "/api/auth/session?slide=true", True),
        ("GET", "/api/auth/session?slide=false", False),
        ("GET", "/auth/session?slide=false", False),
        ("POST", "/api/auth/session/refresh", True),
    ],
)
def test_asking_counts_as_activity_unless_it_says_it_does_not(
    world: World, method: str, path: str, slides: bool
) -> None:
    browser = world.open_browser()
    browser.log_in()
    token = browser.csrf_token()
    set_back_last_use(world, browser, 1000)
    answer = browser.call(method, path, headers={"X-CSRF-Token": token})
    assert answer.json is not None
    told = answer.json["expires_in"]
    assert (told > 1700) is slides, told
    again = browser.call("GET", "/api/auth/session?slide=false").json
    assert again is not None
    assert (again["expires_in"] > 1700) is slides


def test_a_keep_alive_answers_as_the_session_does(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    told = browser.get_session().json
    kept = browser.call("POST", "/api/auth/session/refresh", headers={"X-CSRF-Token": browser.csrf_token()}).json
    assert told is not None
    assert kept is not None
    assert kept.keys() == told.keys()
    assert kept["user"] == told["user"]


def test_a_keep_alive_without_a_session_is_401(world: World) -> None:
    answer = world.open_browser().call("POST", "/api/auth/session/refresh")
    assert_refused(answer, "not_authenticated", 401)
    assert json.loads(answer.text)["authenticated"] is False


def test_the_session_is_no_page(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert_refused(browser.navigate("/api/auth/session"), "csrf_failed", 403)


def test_an_allowed_origin_may_ask_and_log_out(world: World) -> None:
    browser = world.open_browser(cors={"allow_origins": ["http://localhost:5173"]})
    browser.log_in()
    dev = {"Origin": "http://localhost:5173", "Sec-Fetch-Site": "same-site"}
    answer = browser.call("GET", "/api/auth/session", headers=dev)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    refused = browser.call("POST", "/auth/logout", headers=dev)
    assert_refused(refused, "csrf_failed", 403)
    assert refused.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
    token = browser.csrf_token()
    assert browser.call("POST", "/auth/logout", headers={**dev, "X-CSRF-Token": token}).status_code == 200
