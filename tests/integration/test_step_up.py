"""Step-up through the real provider: the refusal says what to ask for, the login asks for it, and then the call passes.

No backend listens: a call that got through to it is answered `upstream_unreachable`.
"""

from __future__ import annotations

import copy
import time
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import ROUTES, Browser, World, build_app, merge, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live

FRESH, STRONG, PAGE = "/api/fresh", "/api/strong", "/api/strong-page"
OLD = int(time.time()) - 3600


def build_routes() -> dict[str, Any]:
    routes = copy.deepcopy(ROUTES)
    common = {"target_service": "crud_service", "upstream_path": "/x", "auth": "session", "authz": "none"}
    routes["routes"] += [
        {**common, "path": FRESH, "max_age_seconds": 300},
        {**common, "path": STRONG, "acr_values": ["silver", "gold"]},
        {**common, "path": PAGE, "acr_values": ["silver", "gold"], "max_age_seconds": 300, "navigation": True},
    ]
    return routes


def open_browser(world: World) -> Browser:
    world.settings = merge(world.settings, {"oidc": {"par": "off"}})  # so that what is asked for can be seen
    return Browser(build_app(world.directory, world.settings, build_routes()))


def assert_passes(answer: TestResponse) -> None:
    assert answer.headers["X-BFF-Error"] == "upstream_unreachable", answer.text


def assert_insufficient(answer: TestResponse) -> str:
    """Returns the `login_url`."""
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "insufficient_user_authentication")
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["WWW-Authenticate"].startswith('Bearer error="insufficient_user_authentication", ')
    document = answer.get_json(force=True)
    login_url: str = document["login_url"]
    return login_url


def follow(browser: Browser, login_url: str, return_to: str = "/") -> TestResponse:
    """What the page does with a `login_url`: goes there, saying where it wants to be afterwards."""
    return finish(browser, f"{login_url}&return_to={quote(return_to, safe='')}")


def finish(browser: Browser, login_url: str) -> TestResponse:
    start = browser.navigate(login_url.removeprefix(browser.origin))
    assert start.status_code == 302, start.text
    callback = browser.walk(start.headers["Location"])
    return browser.navigate(callback.removeprefix(browser.origin), site="cross-site")


def test_an_old_login_is_refused_and_a_new_one_passes(world: World) -> None:
    browser = open_browser(world)
    world.op.mutate(id_token={"set": {"auth_time": OLD}})
    browser.log_in()
    login_url = assert_insufficient(browser.call("GET", FRESH))
    assert login_url == f"{browser.origin}/auth/login?max_age=300"
    assert browser.is_logged_in()
    assert_passes(browser.call("GET", "/api/crud/forms"))
    world.op.clear_faults()
    start = browser.navigate(login_url.removeprefix(browser.origin))
    assert query_of(start.headers["Location"])["max_age"] == "300"
    assert follow(browser, login_url).status_code == 303
    assert_passes(browser.call("GET", FRESH))


@pytest.mark.parametrize("auth_time", [None, int(time.time()) + 3600], ids=["missing", "future"])
def test_a_login_of_no_known_time_is_not_fresh(world: World, auth_time: int | None) -> None:
    browser = open_browser(world)
    world.op.mutate(id_token={"set": {"auth_time": auth_time}})
    browser.log_in()
    assert_insufficient(browser.call("GET", FRESH))


def test_a_weak_login_is_refused_and_a_strong_one_passes(world: World) -> None:
    browser = open_browser(world)
    browser.log_in()
    login_url = assert_insufficient(browser.call("GET", STRONG))
    assert query_of(login_url) == {"acr_values": "silver gold"}
    world.op.mutate(id_token={"set": {"acr": "gold"}})
    start = browser.navigate(login_url.removeprefix(browser.origin))
    assert query_of(start.headers["Location"])["acr_values"] == "silver gold"
    assert follow(browser, login_url).status_code == 303
    assert_passes(browser.call("GET", STRONG))


@pytest.mark.parametrize(
    "fault",
    [
        {"id_token": {"drop": ["auth_time"]}},
        {"id_token": {"set": {"auth_time": OLD}}},
        {"id_token": {"set": {"auth_time": int(time.time()) + 3600}}},
        {"id_token": {"set": {"auth_time": "now"}}},
    ],
    ids=["missing", "old", "future", "text"],
)
def test_an_id_token_that_does_not_answer_max_age_makes_no_session(world: World, fault: dict[str, Any]) -> None:
    browser = open_browser(world)
    world.op.mutate(**fault)
    answer = follow(browser, "/auth/login?max_age=300")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "login_failed")
    assert not browser.is_logged_in()


@pytest.mark.parametrize("acr", [None, "", "bronze", ["gold"]], ids=["none", "empty", "other", "list"])
def test_a_provider_that_ignores_acr_ends_in_a_page_and_not_in_a_loop(world: World, acr: object) -> None:
    browser = open_browser(world)
    browser.log_in()
    world.op.mutate(id_token={"set": {"acr": acr}})
    first = browser.navigate(PAGE)
    assert first.status_code == 302, first.text
    assert query_of(first.headers["Location"]) == {
        "return_to": PAGE,
        "acr_values": "silver gold",
        "max_age": "300",
    }
    answer = finish(browser, first.headers["Location"])
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "login_failed")
    assert "did not authenticate you in the way that was asked for" in answer.text
    assert browser.is_logged_in(), "the login before is still good for what it was good for"


def test_an_acr_that_no_route_asks_for_is_a_wish(world: World) -> None:
    browser = open_browser(world)
    assert follow(browser, "/auth/login?acr_values=platinum").status_code == 303
    assert browser.is_logged_in()


def test_a_page_leads_through_the_login_to_itself(world: World) -> None:
    browser = open_browser(world)
    browser.log_in()
    world.op.mutate(id_token={"set": {"acr": "silver"}})
    first = browser.navigate(PAGE)
    assert f"url={PAGE}" in finish(browser, first.headers["Location"]).text
    assert_passes(browser.navigate(PAGE))


def test_who_is_not_logged_in_is_not_told_what_the_route_asks_for(world: World) -> None:
    browser = open_browser(world)
    answer = browser.call("GET", STRONG)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "not_authenticated")
    assert "WWW-Authenticate" not in answer.headers
