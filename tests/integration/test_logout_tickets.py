"""From a logout to the provider and back: what tickets and states are good for, and where it may lead (row R)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.login_world import ORIGIN, UNSAFE_RETURNS, Browser, World, query_of, world
from tests.integration.session_answers import assert_refused, get_path

__all__ = ["world"]

pytestmark = pytest.mark.live


# What a ticket is good for


def test_a_ticket_is_good_once(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out()
    assert answer.json is not None
    path = get_path(answer.json["logout_url"])
    assert browser.client.head(path, base_url=ORIGIN).status_code == 405
    assert browser.navigate(path).status_code == 302
    again = browser.navigate(path)
    assert_refused(again, "bad_request", 400)
    assert "Location" not in again.headers


@pytest.mark.parametrize("ticket", ["", "x", "x" * 43, "../../x", "%00", "x" * 5000])
def test_an_invented_ticket_leads_nowhere(world: World, ticket: str) -> None:
    answer = world.open_browser().navigate(f"/auth/logout/continue?ticket={ticket}")
    assert_refused(answer, "bad_request", 400)
    assert "Location" not in answer.headers


def test_a_ticket_waits_while_the_provider_is_away(world: World) -> None:
    before = world.open_browser()
    before.log_in()
    answer = before.log_out()
    assert answer.json is not None
    path = get_path(answer.json["logout_url"])
    world.op.fail("/.well-known/openid-configuration", status=503)
    assert_refused(Browser(world.build()).navigate(path), "idp_unavailable", 503)
    world.op.clear_faults()
    assert Browser(world.build()).navigate(path).status_code == 302


# The way back


def test_a_state_of_a_logout_is_good_once_and_an_invented_one_for_nothing(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out(json={"return_to": "/bye"})
    assert answer.json is not None
    onward = browser.navigate(get_path(answer.json["logout_url"]))
    state = query_of(onward.headers["Location"])["state"]
    assert browser.navigate(f"/auth/logged-out?state={state}").headers["Location"] == "/bye"
    for used_or_invented in (state, "x", "x" * 43, ""):
        page = browser.navigate(f"/auth/logged-out?state={used_or_invented}")
        assert page.status_code == 200
        assert "Location" not in page.headers


@pytest.mark.parametrize("return_to", UNSAFE_RETURNS)
def test_r_an_unsafe_return_address_is_refused_before_anything_ends(world: World, return_to: str) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert_refused(browser.log_out(json={"return_to": return_to}), "unsafe_return_to", 400)
    assert_refused(browser.navigate(f"/auth/logout?return_to={quote(return_to, safe='')}"), "unsafe_return_to", 400)
    assert browser.is_logged_in()


def test_r_an_address_that_is_no_longer_allowed_is_refused_on_the_way_back(world: World) -> None:
    browser = world.open_browser(cors={"allow_origins": ["http://localhost:5173"]})
    browser.log_in()
    answer = browser.log_out(json={"return_to": "http://localhost:5173/bye"})
    assert answer.json is not None
    onward = browser.navigate(get_path(answer.json["logout_url"]))
    state = query_of(onward.headers["Location"])["state"]
    later = Browser(world.build(cors={"allow_origins": []}))
    assert_refused(later.navigate(f"/auth/logged-out?state={state}"), "unsafe_return_to", 400)
