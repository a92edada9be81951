"""What must not end a session: calls of other sites or without the token (rows L13, B1), and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.login_world import CALL, NAVIGATION, ORIGIN, SESSION_COOKIE, World, world
from tests.integration.session_answers import assert_refused

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_l13_no_get_and_no_image_ends_a_session(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    image = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"}
    for headers in (image, {**NAVIGATION, "Sec-Fetch-Site": "cross-site"}, {}):
        assert browser.client.get("/auth/logout", base_url=ORIGIN, headers=headers).status_code == 200
        assert browser.client.head("/auth/logout", base_url=ORIGIN, headers=headers).status_code == 200
    assert browser.is_logged_in()


@pytest.mark.parametrize("token", [None, "", "x", "A" * 43, "é"], ids=["none", "empty", "short", "other", "odd"])
@pytest.mark.parametrize("path", ["/auth/logout", "/api/auth/session/refresh"])
def test_b1_an_unsafe_call_without_the_sessions_token_is_refused(world: World, path: str, token: str | None) -> None:
    browser = world.open_browser()
    browser.log_in()
    headers = {} if token is None else {"X-CSRF-Token": token}
    answer = browser.call("POST", path, headers=headers)
    assert_refused(answer, "csrf_failed", 403)
    assert not answer.headers.getlist("Set-Cookie")
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, id="evil"),
        pytest.param({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, id="B2-null"),
        pytest.param({"Origin": "http://sub.localhost:8000", "Sec-Fetch-Site": "same-site"}, id="sibling"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="no-origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site-no-origin"),
        pytest.param({"Origin": "http://localhost:8000.evil.example"}, id="prefix"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/auth/logout"),
        ("GET", "/api/auth/session"),
        ("GET", "/auth/session"),
        ("POST", "/api/auth/session/refresh"),
    ],
)
def test_b1_other_sites_are_refused_even_with_the_token(
    world: World, method: str, path: str, headers: dict[str, str]
) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.call(method, path, headers={"X-CSRF-Token": browser.csrf_token(), **headers})
    assert_refused(answer, "csrf_failed", 403)
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert browser.is_logged_in()


def test_b1_a_form_of_another_site_ends_nothing(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.client.post(
        "/auth/logout",
        base_url=ORIGIN,
        headers={**NAVIGATION, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        data={"csrf_token": browser.csrf_token()},
    )
    assert_refused(answer, "csrf_failed", 403)
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        (
            {"data": "csrf_token=a&csrf_token=b", "content_type": "application/x-www-form-urlencoded"},
            400,
            "bad_request",
        ),
        ({"data": "x=" + "a" * 20_000, "content_type": "application/x-www-form-urlencoded"}, 413, "body_too_large"),
        ({"data": "{", "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "[]", "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "[" * 10_000, "content_type": "application/json"}, 400, "bad_request"),
        ({"data": '"' + "a" * 20_000 + '"', "content_type": "application/json"}, 413, "body_too_large"),
        ({"query_string": "return_to=/a&return_to=/b"}, 400, "bad_request"),
        ({"query_string": "return_to=/a", "json": {"return_to": "/b"}}, 400, "bad_request"),
    ],
)
def test_a_logout_that_cannot_be_read_is_refused(world: World, options: dict[str, Any], status: int, code: str) -> None:
    browser = world.open_browser()
    browser.log_in()
    assert_refused(browser.log_out(**options), code, status)
    assert browser.is_logged_in()


def test_two_session_cookies_are_refused(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    cookies = f"{SESSION_COOKIE}={browser.cookie()}; {SESSION_COOKIE}={'x' * 43}"
    bare = browser.app.test_client(use_cookies=False)
    for path in ("/api/auth/session", "/auth/login", "/auth/logout"):
        answer = bare.get(path, base_url=ORIGIN, headers={"Cookie": cookies, **CALL})
        assert_refused(answer, "bad_request", 400)
    assert browser.is_logged_in()
