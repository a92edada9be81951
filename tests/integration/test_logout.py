"""The logout and the session endpoint: what they do, and what must not end or keep a session (rows L13, L15, L19)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from werkzeug.test import TestResponse

from tests.integration.login_world import CALL, NAVIGATION, ORIGIN, SESSION_COOKIE, Browser, World, query_of, world
from tests.integration.test_login import UNSAFE_RETURNS
from tests.support.opwalk import walk

__all__ = ["world"]

pytestmark = pytest.mark.live

FORM = {**NAVIGATION, "Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}


def assert_refused(answer: TestResponse, code: str, status: int) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text


def get_path(url: str) -> str:
    assert url.startswith(ORIGIN), url
    return url.removeprefix(ORIGIN)


def clears_cookies(answer: TestResponse) -> bool:
    lines = answer.headers.getlist("Set-Cookie")
    return all(any(line.startswith(f"{name}=;") and "Max-Age=0" in line for line in lines) for name in CLEARED)


CLEARED = (SESSION_COOKIE, "bff_csrf")


# The way out


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


def test_the_page_after_a_logout_says_logged_out_only_to_those_who_are(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logged-out")
    assert "You are logged in" in page.text
    assert 'href="/auth/logout"' in page.text
    assert "has ended" not in page.text
    assert browser.is_logged_in(), "it only tells"
    browser.log_out()
    assert "You are logged out" in browser.navigate("/auth/logged-out").text
    assert "You are logged out" in world.open_browser().navigate("/auth/logged-out").text


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


# What must not end a session


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


# Row L15: while others are away


def test_l15_a_provider_that_is_away_does_not_keep_anybody_logged_in(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    world.op.fail("/token/revocation", status=503)
    answer = browser.log_out()
    assert answer.status_code == 200
    assert clears_cookies(answer)
    assert not browser.is_logged_in()


def test_l15_a_provider_that_hangs_is_not_waited_for(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    browser.log_in()
    world.op.fail("/token/revocation", delay_ms=20_000)
    answer = browser.log_out()
    assert answer.status_code == 200
    assert not browser.is_logged_in()
    world.op.clear_faults()


def test_l15_a_provider_that_answers_nothing_at_all_is_not_waited_for(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    browser.log_in()
    token = browser.csrf_token()
    browser.app = world.build()  # a worker that has not asked it anything yet
    slow = {"status": 0, "times": -1, "delay_ms": 20_000}
    world.op.mutate(fail=dict.fromkeys(("/.well-known/openid-configuration", "/token/revocation"), slow))
    here = Browser(browser.app)
    here.client.set_cookie(SESSION_COOKIE, browser.cookie() or "", domain="localhost")
    answer = here.call("POST", "/auth/logout", headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    assert clears_cookies(answer)
    assert not browser.is_logged_in()
    world.op.clear_faults()


def test_l15_a_store_that_is_away_takes_the_cookie_all_the_same_and_ends_the_session_later(world: World) -> None:
    app = world.build()
    browser, thief = Browser(app), Browser(app)
    browser.log_in()
    token, session_id = browser.csrf_token(), browser.cookie() or ""
    state = world.directory / "state"
    state.rename(world.directory / "away")
    state.write_text("not a directory")
    answer = browser.call("POST", "/auth/logout", headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    assert clears_cookies(answer)
    state.unlink()
    (world.directory / "away").rename(state)

    thief.client.set_cookie(SESSION_COOKIE, session_id, domain="localhost")
    assert not thief.is_logged_in()
    assert app.extensions["bff"].session_store.retry_unfinished_ends() == 1
    after_restart = Browser(world.build())
    after_restart.client.set_cookie(SESSION_COOKIE, session_id, domain="localhost")
    assert_refused(after_restart.get_session(), "session_expired", 401)


def test_o1_a_store_that_is_away_is_never_not_logged_in(world: World) -> None:
    browser = world.open_browser(session={"directory": str(world.directory / "state"), "local_cache_seconds": 0})
    browser.log_in()
    state = world.directory / "state"
    state.rename(world.directory / "away")
    state.write_text("not a directory")
    answer = browser.get_session()
    assert_refused(answer, "store_unavailable", 503)
    assert not answer.headers.getlist("Set-Cookie")
    assert_refused(browser.navigate("/auth/login"), "store_unavailable", 503)
    state.unlink()
    (world.directory / "away").rename(state)
    assert browser.is_logged_in()


# The session endpoint


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


def set_back_last_use(world: World, browser: Browser, seconds: int) -> None:
    """Makes the session look as if it was last used `seconds` ago."""
    from app.services.session_store.record import open_session_record

    services = browser.app.extensions["bff"]
    key = services.session_store.session_key(browser.cookie())
    name = f"session:{key}"
    opened = open_session_record(services.state_store.find(name).value, services.key_ring, name)
    sealed = opened.seal_changed(services.key_ring, name, last_seen_at=services.clock() - seconds)
    services.state_store.put(name, sealed, 3600)


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


# Pages


def test_the_logout_page_has_one_button_and_a_policy_that_lets_its_form_go_on(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logout")
    assert page.text.count("<button") == 1
    assert '<form method="post" action="/auth/logout">' in page.text
    assert "form-action" not in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert 'name="referrer"' not in page.text
    assert "<script" not in page.text


def test_the_logout_page_without_a_session_offers_a_login(world: World) -> None:
    page = world.open_browser().navigate("/auth/logout")
    assert page.status_code == 200
    assert "<form" not in page.text
    assert 'href="/auth/login"' in page.text


def test_a_link_on_another_site_still_leads_to_the_button(world: World) -> None:
    """The Strict cookie is not sent with such a link; one step from our own page later it is."""
    browser = world.open_browser()
    browser.log_in()
    bare = browser.app.test_client(use_cookies=False)
    page = bare.get("/auth/logout", base_url=ORIGIN, headers={**NAVIGATION, "Sec-Fetch-Site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0; url=/auth/logout">' in page.text
    assert "<button" in browser.navigate("/auth/logout", site="same-origin").text


def test_h12_a_return_address_is_escaped_in_the_form(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logout?return_to=" + quote("/a'b&c=d", safe=""))
    assert 'name="return_to" value="/a&#39;b&amp;c=d"' in page.text


def test_what_the_provider_is_told_leads_back_to_us_only(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    answer = browser.log_out(json={"return_to": "/bye"})
    assert answer.json is not None
    location = browser.navigate(get_path(answer.json["logout_url"])).headers["Location"]
    assert "bye" not in location
    assert requests.get(location, timeout=10).status_code == 200
    assert urlsplit(query_of(location)["post_logout_redirect_uri"]).path == "/auth/logged-out"
