"""The login against the real OpenID Provider: what works."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import ORIGIN, SESSION_COOKIE, World, query_of, world

__all__ = ["world"]

pytestmark = pytest.mark.live


def session_lines(answer: TestResponse) -> list[str]:
    return [line for line in answer.headers.getlist("Set-Cookie") if SESSION_COOKIE in line]


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


def test_the_challenge_belongs_to_the_verifier_that_is_sent(world: World) -> None:
    browser = world.open_browser(oidc={"par": "off"})
    url = browser.start_login()
    browser.navigate(browser.walk(url).removeprefix(ORIGIN), site="cross-site")
    (verifier,) = world.op.secrets("code_verifier")
    digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert query_of(url)["code_challenge"] == digest
    assert len(verifier) == 43


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


def test_the_login_path_of_a_401_starts_a_login(world: World) -> None:
    browser = world.open_browser()
    told = browser.get_session().json
    assert told is not None
    assert told["login_url"] == f"{ORIGIN}/auth/login"
    assert browser.navigate(urlsplit(told["login_url"]).path).status_code == 302
