"""The shapes that a callback may come in: which are refused, and what none of them uses up."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.login_answers import assert_refused
from tests.integration.login_world import ORIGIN, World, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
def test_a_callback_with_a_parameter_twice_is_refused_and_spoils_nothing(world: World, name: str) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    value = query_of(callback).get(name, "access_denied")
    twice = f"{callback}&{name}={quote(value, safe='')}" + (f"&{name}=x" if name == "error" else "")
    assert_refused(browser.navigate(twice, site="cross-site"), "bad_request")
    assert world.token_calls() == 0
    assert browser.navigate(callback, site="cross-site").status_code == 303


@pytest.mark.parametrize("query", ["", "code=c", "state=", "state=x&code=c", f"state={'a' * 43}&code=c"])
def test_a_callback_that_belongs_to_no_login_is_refused(world: World, query: str) -> None:
    assert_refused(world.open_browser().navigate(f"/auth/callback?{query}"), "login_state_invalid")
    assert world.token_calls() == 0


def test_unknown_parameters_of_a_callback_are_ignored(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback() + "&session_state=x&utm_source=a&utm_source=b"
    assert browser.navigate(callback, site="cross-site").status_code == 303


def test_a_head_request_does_not_use_a_callback_up(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    answer = browser.client.head(callback, base_url=ORIGIN)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert browser.navigate(callback, site="cross-site").status_code == 303
