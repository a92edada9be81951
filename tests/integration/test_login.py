"""The login against the real OpenID Provider: what works, and the L and R rows of what must not."""

from __future__ import annotations

import threading
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import ORIGIN, SESSION_COOKIE, Browser, World, query_of, world
from tests.support.real_op import start_op

__all__ = ["world"]

pytestmark = pytest.mark.live


def assert_refused(answer: TestResponse, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert not any(SESSION_COOKIE in line and "Max-Age=0" not in line for line in answer.headers.getlist("Set-Cookie"))


def session_lines(answer: TestResponse) -> list[str]:
    return [line for line in answer.headers.getlist("Set-Cookie") if SESSION_COOKIE in line]


# What works


@pytest.mark.parametrize("client", ["basic_client", "post_client"])
def test_a_user_logs_in_and_the_page_learns_who_it_is(world: World, client: str) -> None:
    chosen = getattr(world.op, client)
    browser = world.open_browser(
        oidc={
            "client_id": chosen.client_id,
            "client_auth": chosen.auth_method,
            "client_secret": chosen.client_secret,
            "userinfo": True,
        }
    )
    assert browser.get_session().status_code == 401
    answer = browser.log_in("admin-ann", return_to="/forms?x=1#top")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/forms?x=1#top")
    told = browser.get_session().json
    assert told is not None
    assert told["authenticated"] is True
    assert told["user"] == {
        "id": "admin-ann",
        "name": "Admin-ann",
        "email": "admin-ann@example.test",
        "roles": ["admin", "user"],
        "permissions": [],
    }
    assert 1790 <= told["expires_in"] <= 1800
    assert 28790 <= told["absolute_expires_in"] <= 28800
    assert len(told["csrf_token"]) == 43


def test_without_userinfo_the_session_holds_what_the_id_token_says(world: World) -> None:
    browser = world.open_browser()
    browser.log_in("alice")
    told = browser.get_session().json
    assert told is not None
    assert told["user"] == {"id": "alice", "roles": [], "permissions": []}


def test_the_user_id_may_be_another_claim(world: World) -> None:
    browser = world.open_browser(oidc={"userinfo": True, "user_id_claim": "email"})
    browser.log_in("alice")
    told = browser.get_session().json
    assert told is not None
    assert told["user"]["id"] == "alice@example.test"


def test_the_request_to_the_provider_is_the_one_that_the_specifications_want(world: World) -> None:
    url = world.open_browser(oidc={"par": "off"}).start_login("/x")
    query = query_of(url)
    assert url.startswith(f"{world.op.issuer}/auth?")
    assert query["response_type"] == "code"
    assert query["client_id"] == world.op.basic_client.client_id
    assert query["redirect_uri"] == f"{ORIGIN}/auth/callback"
    assert query["scope"] == "openid profile email roles offline_access"
    assert query["code_challenge_method"] == "S256"
    assert all(len(query[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    assert set(query) == {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }


@pytest.mark.parametrize("par", ["off", "required"])
def test_the_configured_resources_are_asked_for(world: World, par: str) -> None:
    wanted = ["urn:test:api:crud", "urn:test:pdp"]
    browser = world.open_browser(oidc={"resources": wanted, "par": par})
    if par == "off":
        assert parse_qs(urlsplit(browser.start_login("/x")).query)["resource"] == wanted
    browser.log_in()
    assert browser.is_logged_in()


def test_a_resource_that_the_provider_does_not_know_makes_no_session(world: World) -> None:
    browser = world.open_browser(oidc={"resources": ["urn:test:nobody"], "par": "required"})
    answer = browser.navigate("/auth/login")
    assert answer.headers["X-BFF-Error"] == "login_failed"
    assert not browser.is_logged_in()


def test_a_pushed_request_leaves_only_its_reference_in_the_browser(world: World) -> None:
    browser = world.open_browser()
    assert set(query_of(browser.start_login())) == {"client_id", "request_uri"}
    assert len(world.op.events("pushed_authorization_request.success")) == 1
    browser.log_in()


def test_nothing_of_a_login_can_be_guessed_from_another(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    first, second = (query_of(browser.start_login()) for _ in range(2))
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


def test_cookies_have_the_flags_that_hold_them(world: World) -> None:
    browser = world.open_browser(server={"public_url": "https://app.example.com"})
    start = browser.navigate("/auth/login")
    (login_line,) = start.headers.getlist("Set-Cookie")
    assert login_line.startswith("__Host-Http-bff_login_")
    assert set(login_line.split("; ")[1:]) == {"Path=/", "Max-Age=600", "Secure", "HttpOnly", "SameSite=Lax"}
    done = browser.navigate(browser.walk(start.headers["Location"]).removeprefix(browser.origin), site="cross-site")
    lines = {line.partition("=")[0]: line for line in done.headers.getlist("Set-Cookie")}
    session = lines["__Host-Http-bff_session"]
    assert set(session.split("; ")[1:]) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
    assert len(session.partition("=")[2].partition(";")[0]) == 43
    assert "HttpOnly" not in lines["bff_csrf"]
    (removal,) = [line for line in lines.values() if "bff_login_" in line]
    assert {"Max-Age=0", "Secure", "HttpOnly", "Path=/"} <= set(removal.split("; "))


def test_the_state_stays_out_of_the_login_cookie(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    answer = browser.navigate("/auth/login")
    query = query_of(answer.headers["Location"])
    cookies = "".join(answer.headers.getlist("Set-Cookie"))
    assert not any(query[name] in cookies for name in ("state", "nonce", "code_challenge"))


def test_a_navigation_route_is_reached_by_a_page_that_moves_on_by_itself(world: World) -> None:
    """After a redirect from another site the Strict cookie would not be sent; from our own page it is."""
    browser = world.open_browser()
    answer = browser.log_in(return_to="/api/files/a&b.pdf?x=1&y=2")
    assert answer.status_code == 200
    assert session_lines(answer)
    assert '<meta http-equiv="refresh" content="0; url=/api/files/a&amp;b.pdf?x=1&amp;y=2">' in answer.text
    assert 'href="/api/files/a&amp;b.pdf?x=1&amp;y=2"' in answer.text
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("return_to", ["/", "/api/crud/forms", "/app"])
def test_any_other_address_is_reached_by_a_redirect(world: World, return_to: str) -> None:
    assert world.open_browser().log_in(return_to=return_to).status_code == 303


def test_a_lax_cookie_needs_no_page(world: World) -> None:
    browser = world.open_browser(session={"cookie": {"same_site": "Lax"}})
    assert browser.log_in(return_to="/api/files/a").status_code == 303


def test_an_allowed_origin_may_be_returned_to(world: World) -> None:
    browser = world.open_browser(cors={"allow_origins": ["http://localhost:5173"]})
    answer = browser.log_in(return_to="http://localhost:5173/app?x")
    assert (answer.status_code, answer.headers["Location"]) == (303, "http://localhost:5173/app?x")


def test_only_hashes_and_sealed_bytes_are_in_the_store(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    session_id = browser.cookie()
    assert session_id
    kept = [path.read_bytes() for path in (world.directory / "state").rglob("*") if path.is_file()]
    names = " ".join(str(path) for path in (world.directory / "state").rglob("*"))
    secrets = [*world.op.secrets(), session_id]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if any(secret.encode() in body for body in kept) or secret in names]


def test_no_token_ever_reaches_the_browser(world: World) -> None:
    """Whatever the BFF answers, in body and headers: only code and state pass through the browser."""
    browser = world.open_browser(oidc={"userinfo": True})
    start = browser.navigate("/auth/login")
    callback = browser.walk(start.headers["Location"]).removeprefix(ORIGIN)
    answers = [start, browser.navigate(callback, site="cross-site"), browser.get_session(), browser.navigate(callback)]
    seen = "".join(f"{answer.headers}{answer.text}" for answer in answers)
    tokens = world.op.secrets("access_token", "refresh_token", "id_token", "code_verifier", "nonce")
    assert len(tokens) >= 4
    assert not [token for token in tokens if token in seen]


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


# Row L4: how many


def test_l4_a_browser_keeps_the_five_youngest_logins(world: World) -> None:
    browser = world.open_browser()
    for _ in range(8):
        browser.start_login()
    assert len(browser.login_cookie_names()) == 5


def test_l4_too_many_logins_from_one_address_are_refused_before_anything_is_kept(world: World) -> None:
    browser = world.open_browser(limits={"login_starts": "3/hour"})
    for _ in range(3):
        browser.start_login()
    pushed = len(world.op.events("pushed_authorization_request.success"))
    answer = browser.navigate("/auth/login")
    assert_refused(answer, "rate_limited", 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert len(world.op.events("pushed_authorization_request.success")) == pushed == 3


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


# Row L10: what the browser may ask for


def test_l10_only_allow_listed_parameters_pass_and_ours_are_never_overridden(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    evil = {
        "scope": "admin",
        "redirect_uri": "https://evil.example/cb",
        "client_id": "evil",
        "state": "evil",
        "nonce": "evil",
        "response_type": "token",
        "response_mode": "fragment",
        "code_challenge": "evil",
        "request": "evil",
        "request_uri": "https://evil.example",
        "resource": "evil",
        "claims": "{}",
        "unknown": "evil",
    }
    query = query_of(browser.start_login(**evil, login_hint="ann@example.com", prompt="login"))
    assert query["login_hint"] == "ann@example.com"
    assert query["prompt"] == "login"
    assert query["scope"].startswith("openid ")
    assert query["redirect_uri"] == f"{ORIGIN}/auth/callback"
    assert "evil" not in "".join(query.values())
    assert not {"response_mode", "request", "request_uri", "resource", "claims", "unknown"} & query.keys()


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("return_to=/a&return_to=/b", id="return-to-twice"),
        pytest.param("prompt=login&prompt=none", id="prompt-twice"),
        pytest.param("scope=a&scope=b", id="unknown-twice"),
        pytest.param("login_hint=" + "x" * 1025, id="long"),
        pytest.param("login_hint=a%0d%0aX:b", id="line-break"),
        pytest.param("login_hint=a%00", id="nul"),
        pytest.param("max_age=soon", id="max-age-text"),
        pytest.param("max_age=-1", id="max-age-negative"),
        pytest.param("max_age=9999999999", id="max-age-huge"),
    ],
)
def test_l10_a_request_that_can_be_read_in_two_ways_or_not_at_all_is_refused(world: World, query: str) -> None:
    browser = world.open_browser()
    assert_refused(browser.navigate(f"/auth/login?{query}"), "bad_request")
    assert browser.login_cookie_names() == set()
    assert world.op.events() == []


def test_a_max_age_is_asked_for_and_held_to(world: World) -> None:
    browser = world.open_browser(oidc={"clock_skew_seconds": 0})
    browser.log_in()
    url = browser.start_login(max_age="3600")
    assert browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site").status_code == 303
    world.op.mutate(id_token={"set": {"auth_time": 1_000_000_000}})
    url = browser.start_login(max_age="3600")
    assert_refused(browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site"), "login_failed")


# Row R: where a login may lead

UNSAFE_RETURNS = [
    "/\\evil",
    "/%5cevil",
    "/%09/evil",
    "//evil",
    "///evil",
    "/%2f/evil",
    "https://good@evil",
    "https://evil.example",
    "http://localhost:8000.evil.example/",
    "http://localhost:8000@evil.example/",
    "http://localhost:80001/",
    "https://localhost:8000/",
    "javascript:alert(1)",
    "data:text/html,x",
    "/%0d%0aSet-Cookie:a=b",
    "/\r\nSet-Cookie:a=b",
    "\u3000//evil",
    "http:good",
    "evil",
    "/" + "a" * 2048,
]


@pytest.mark.parametrize("return_to", UNSAFE_RETURNS)
def test_r_an_unsafe_return_address_starts_no_login(world: World, return_to: str) -> None:
    browser = world.open_browser()
    answer = browser.navigate(f"/auth/login?return_to={quote(return_to, safe='')}")
    assert_refused(answer, "unsafe_return_to")
    assert "Location" not in answer.headers
    assert browser.login_cookie_names() == set()
    assert world.op.events() == []


def test_r_an_address_that_is_no_longer_allowed_is_refused_at_the_callback(world: World) -> None:
    before = world.open_browser(cors={"allow_origins": ["http://localhost:5173"]})
    callback = before.walk_to_callback(return_to="http://localhost:5173/app")
    after = Browser(world.build(cors={"allow_origins": []}))
    after.client._cookies = before.client._cookies
    assert_refused(after.navigate(callback, site="cross-site"), "unsafe_return_to")
    assert world.token_calls() == 0


# Other shapes of a callback


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


def test_the_challenge_belongs_to_the_verifier_that_is_sent(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    url = browser.start_login()
    browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site")
    (verifier,) = world.op.secrets("code_verifier")
    digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert query_of(url)["code_challenge"] == digest
    assert len(verifier) == 43


# While the provider is away


def test_o3_the_bff_starts_without_its_provider_and_heals(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("late")
    op = start_op(directory)
    port = op.port
    op.stop()
    late = World(directory, op)
    browser = late.open_browser(oidc={"timeout_seconds": 2})
    answer = browser.navigate("/auth/login")
    assert_refused(answer, "idp_unavailable", 503)
    assert browser.get_session().status_code == 401
    again = start_op(directory, port=port)
    try:
        fresh = Browser(late.build())
        fresh.log_in()
        assert fresh.is_logged_in()
    finally:
        again.stop()


def test_a_provider_that_fails_at_the_token_endpoint_is_503_and_the_user_may_try_again(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback(return_to="/app")
    world.op.fail("/token", status=503)
    answer = browser.navigate(callback, site="cross-site")
    assert_refused(answer, "idp_unavailable", 503)
    assert 'href="/auth/login?return_to=%2Fapp"' in answer.text
    world.op.clear_faults()
    browser.log_in()


def test_a_provider_that_hangs_is_given_up_in_time(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    callback = browser.walk_to_callback()
    world.op.fail("/token", delay_ms=5000)
    assert_refused(browser.navigate(callback, site="cross-site"), "idp_unavailable", 503)


def test_a_callback_while_the_provider_cannot_be_discovered_spoils_nothing(world: World) -> None:
    before = world.open_browser()
    callback = before.walk_to_callback()
    after = Browser(world.build())  # as after a restart: nothing is cached
    after.client._cookies = before.client._cookies
    world.op.fail("/.well-known/openid-configuration", status=503)
    assert_refused(after.navigate(callback, site="cross-site"), "idp_unavailable", 503)
    world.op.clear_faults()
    healed = Browser(world.build())
    healed.client._cookies = before.client._cookies
    assert healed.navigate(callback, site="cross-site").status_code == 303


# Pages


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


@pytest.mark.parametrize("path", ["/auth/login", "/auth/callback"])
def test_other_methods_are_refused(world: World, path: str) -> None:
    answer = world.open_browser().call("DELETE", path)
    assert answer.status_code == 405


def test_a_stolen_callback_tells_the_thief_nothing(world: World) -> None:
    app = world.build()
    alice, mallory = Browser(app), Browser(app)
    callback = alice.walk_to_callback(return_to="/secret-page")
    answer = mallory.navigate(callback, site="cross-site")
    query = query_of(callback)
    assert "secret-page" not in answer.text
    assert query["code"] not in answer.text
    assert query["state"] not in answer.text


def test_the_login_path_of_a_401_starts_a_login(world: World) -> None:
    browser = world.open_browser()
    told = browser.get_session().json
    assert told is not None
    assert told["login_url"] == f"{ORIGIN}/auth/login"
    assert browser.navigate(urlsplit(told["login_url"]).path).status_code == 302
