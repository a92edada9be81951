"""The page that a refused login leads to: what it shows, and what it may not load, run or tell."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.integration.login_answers import assert_refused
from tests.integration.login_world import World, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_l11_a_cancelled_login_shows_a_safe_page_and_no_loop(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback(return_to="/app", abort_at="login")
    assert query_of(callback)["error"] == "access_denied"
    answer = browser.navigate(callback, site="cross-site")
    assert_refused(answer, "login_failed")
    assert "Location" not in answer.headers
    assert answer.mimetype == "text/html"
    assert answer.headers["X-Correlation-ID"] in answer.text
    assert "login_failed" in answer.text
    assert 'href="/auth/login?return_to=%2Fapp"' in answer.text
    assert browser.login_cookie_names() == set()
    assert_refused(browser.navigate(callback, site="cross-site"), "login_state_invalid")
    assert world.token_calls() == 0


def test_h12_what_the_provider_writes_is_not_shown(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback(abort_at="login")
    said = {**query_of(callback), "error_description": "<script>alert(1)</script>pwned", "error_uri": "https://pwned"}
    answer = browser.navigate(f"/auth/callback?{urlencode(said)}", site="cross-site")
    assert_refused(answer, "login_failed")
    assert "pwned" not in answer.text
    assert "<script" not in answer.text


def test_h12_a_return_address_is_escaped_on_a_page(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback(return_to="/a'b&c", abort_at="login")
    answer = browser.navigate(callback, site="cross-site")
    assert 'href="/auth/login?return_to=%2Fa%27b%26c"' in answer.text


def test_a_page_may_load_and_run_nothing(world: World) -> None:
    answer = world.open_browser().navigate("/auth/callback?state=x")
    policy = answer.headers["Content-Security-Policy"]
    nonce = answer.text.partition('<style nonce="')[2].partition('"')[0]
    assert len(nonce) >= 16
    assert policy == (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert '<meta name="referrer" content="no-referrer">' in answer.text
    assert answer.text.count("<style") == 1
    assert not any(word in answer.text for word in ("<script", "style=", "<img", "<link", "onclick"))


def test_a_script_gets_a_problem_document_and_no_page(world: World) -> None:
    answer = world.open_browser().call("GET", "/auth/callback?state=x")
    assert_refused(answer, "login_state_invalid")
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert answer.json["code"] == "login_state_invalid"
    assert answer.json["request_id"] == answer.headers["X-Correlation-ID"]
