"""Login, call, refresh, back-channel logout, login and RP-initiated logout, with everything real, and twice: with a
provider and a client as strict as either can be, and with both as plain as they come.

Access tokens are good for a second, so every call that comes later needs a refresh. The provider rotates refresh tokens
and ends the grant when one is used twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from joserfc import jws

from app.services.client_registration.factory import FILE_NAME
from tests.support.bff import Bff, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.dpop_backend import DpopBackend
from tests.support.log_lines import read_lines
from tests.support.log_scan import find_leaks
from tests.support.opwalk import Page, walk
from tests.support.processes import free_port, wait_until
from tests.support.raw_backend import OK_ANSWER, RawBackend, answering_always
from tests.support.real_op import CRUD_AUDIENCE, CRUD_SCOPE, OpClient, RealOp, start_op

pytestmark = pytest.mark.live

WORKERS = 2
UNREGISTERED = OpClient("", "private_key_jwt", "")


@dataclass(slots=True)
class WalkedWorld:
    """One provider, one BFF and one backend. `dpop` checks the proofs of a world that has them."""

    op: RealOp
    bff: Bff
    backend: RawBackend
    dpop: DpopBackend | None

    def requests_to(self, path: str) -> int:
        return len([event for event in self.op.events("request") if event["path"] == path])

    def grants(self, kind: str) -> int:
        return len([event for event in self.op.events("grant.success") if event["grant_type"] == kind])


def build_routes(backend_url: str) -> dict[str, Any]:
    own = {"mode": "client_credentials", "audience": CRUD_AUDIENCE, "scope": CRUD_SCOPE}
    services = {"of_the_user": {"mode": "user"}, "of_the_bff": own}
    return {
        "services": {name: {"base_url": backend_url, "token": token} for name, token in services.items()},
        "routes": [
            {
                "path": f"/api/{name}/*",
                "target_service": name,
                "upstream_path": f"/{name}/{{path}}",
                "auth": "session",
                "authz": "none",
            }
            for name in services
        ],
    }


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalkedWorld]:
    """PAR is required, nonces are required of proofs, an initial access token registers once; the client registers
    itself, proves itself with its key, binds its tokens and has the answers signed."""
    directory = tmp_path_factory.mktemp("strict")
    with ExitStack() as parts:
        op = start_op(directory, OP_REQUIRE_PAR="1", OP_DPOP_NONCE="1", OP_IAT="model", OP_ROTATE_RT="1", OP_TTL_AT="1")
        parts.callback(op.stop)
        dpop = DpopBackend(nonce="of-the-backend")
        backend = parts.enter_context(dpop.serve())
        oidc = {
            "par": "required",
            "response_mode": "query.jwt",
            "dpop": True,
            "dcr": {"enabled": True, "initial_access_token": op.initial_access_token()},
        }
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=UNREGISTERED,
            backend_url=backend.url,
            routes=build_routes(backend.url),
            workers=WORKERS,
            settings={"oidc": oidc},
        )
        parts.callback(bff.stop)
        wait_until(lambda: count_registered_workers(bff) == WORKERS, timeout_seconds=30, what="the registration")
        yield WalkedWorld(op, bff, backend, dpop)


def count_registered_workers(bff: Bff) -> int:
    """Each says once, when it knows of a client, that the token it was given for one is of no more use."""
    return len(read_lines([bff.child.log_path], event="client_registration.initial_access_token_still_set"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalkedWorld]:
    """A secret, a code in the query, nothing pushed, signed or bound."""
    directory = tmp_path_factory.mktemp("plain")
    with ExitStack() as parts:
        op = start_op(directory, OP_TTL_AT="1")
        parts.callback(op.stop)
        backend = parts.enter_context(RawBackend(answering_always(OK_ANSWER)))
        port = free_port()
        origin = f"http://localhost:{port}"
        client = op.register_client(
            origin,
            backchannel_logout_uri=f"{origin}/auth/backchannel-logout",
            backchannel_logout_session_required=True,
        )
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=client,
            backend_url=backend.url,
            routes=build_routes(backend.url),
            port=port,
            workers=WORKERS,
            settings={"oidc": {"par": "off", "response_mode": "query"}},
        )
        parts.callback(bff.stop)
        yield WalkedWorld(op, bff, backend, None)


@pytest.fixture(params=["strict", "plain"])
def world(request: pytest.FixtureRequest) -> WalkedWorld:
    found: WalkedWorld = request.getfixturevalue(request.param)
    found.op.reset()
    return found


def test_login_call_refresh_and_both_kinds_of_logout(world: WalkedWorld) -> None:
    with BrowserClient(world.bff.origin) as browser:
        browser.log_in("alice")
        assert world.grants("authorization_code") == 1

        check_calls(world, browser)
        check_refreshes(world, browser)
        log_out_at_the_provider(world, browser)
        check_that_the_session_ended(browser)

        browser.log_in("alice")
        check_calls(world, browser)
        log_out_at_the_bff_and_the_provider(world, browser)
        check_that_nobody_is_logged_in(world, browser)
        secrets = {*world.op.secrets(), *browser.secrets}
    assert len(world.op.events("end_session.success")) == 2
    assert world.op.events("backchannel.error") == []
    assert world.op.events("server_error") == []
    assert find_leaks(sorted((world.bff.directory / "logs").glob("*.log")), secrets) == []


def check_calls(world: WalkedWorld, browser: BrowserClient) -> None:
    for service in ("of_the_user", "of_the_bff"):
        answer = browser.post(f"/api/{service}/things", json={"title": "x"})
        assert answer.status_code == 200, answer.text
        sent = world.backend.requests[-1]
        assert sent.request_line.startswith(f"POST /{service}/things ".encode())
        [authorization] = sent.get_all("Authorization")
        assert authorization.startswith(b"Bearer " if world.dpop is None else b"DPoP ")
        assert authorization.split(b" ")[1].decode() in world.op.secrets("access_token")


def check_refreshes(world: WalkedWorld, browser: BrowserClient) -> None:
    """Calls until three refreshes have been, whoever asked for them; every refresh token is used once."""
    wait_until(
        lambda: browser.get("/api/of_the_user/things").status_code == 200 and world.grants("refresh_token") >= 3,
        timeout_seconds=30,
        what="three refreshes",
    )
    assert {event["error"] for event in world.op.events("grant.error")} <= {"use_dpop_nonce"}
    tokens = {request.get_all("Authorization")[0] for request in world.backend.requests}
    assert len(tokens) > 2


def log_out_at_the_provider(world: WalkedWorld, browser: BrowserClient) -> None:
    """The user ends the session there, with no BFF in between: the provider tells the BFF."""
    [form] = Page(browser.http.get(f"{world.op.issuer}/session/end", timeout=10).text).forms
    done = browser.http.post(form.action, data={**form.inputs, "logout": "yes"}, timeout=10)
    assert done.status_code == 200, done.text
    wait_until(lambda: bool(world.op.events("backchannel.success")), timeout_seconds=10, what="the logout token")


def check_that_the_session_ended(browser: BrowserClient) -> None:
    for path in ("/api/auth/session", "/api/of_the_user/things", "/api/of_the_bff/things"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired")


def log_out_at_the_bff_and_the_provider(world: WalkedWorld, browser: BrowserClient) -> None:
    logout_url = browser.log_out()
    assert logout_url is not None
    onward = browser.navigate(logout_url).headers["Location"]
    assert "id_token_hint" in parse_qs(urlsplit(onward).query)
    returned = walk(browser.http, onward, stop_at=f"{world.bff.origin}/auth/logged-out")
    assert browser.navigate(returned, site="cross-site").status_code in (200, 303)


def check_that_nobody_is_logged_in(world: WalkedWorld, browser: BrowserClient) -> None:
    assert browser.get_session().status_code == 401
    start = browser.navigate("/auth/login", site="none")
    asked = browser.http.get(start.headers["Location"], allow_redirects=False, timeout=10)
    page = browser.http.get(urljoin(asked.url, asked.headers["Location"]), timeout=10)
    assert 'name="login"' in page.text, "the provider asks who it is"


def test_the_strict_client_shows_nothing_in_the_browser_and_proves_everything(strict: WalkedWorld) -> None:
    """FAPI 2.0: what was asked is pushed, what is answered is signed, and each token is good with its key only."""
    strict.op.reset()
    with BrowserClient(strict.bff.origin) as browser:
        start = browser.navigate("/auth/login", site="none").headers["Location"]
        assert set(parse_qs(urlsplit(start).query)) == {"client_id", "request_uri"}
        callback = walk(browser.http, start, stop_at=f"{strict.bff.origin}/auth/callback")
        [signed] = parse_qs(urlsplit(callback).query)["response"]
        assert set(parse_qs(urlsplit(callback).query)) == {"response"}
        claims = json.loads(jws.extract_compact(signed.encode()).payload)
        assert claims["iss"] == strict.op.issuer
        assert browser.navigate(callback, site="cross-site").status_code in (200, 303)

    # The same authorization request, not pushed, is what this provider would not take.
    open_request = f"{strict.op.issuer}/auth?client_id={claims['aud']}&response_type=code&scope=openid"
    refused = requests.get(open_request, allow_redirects=False, timeout=10)
    assert "pushed" in refused.text.lower() + refused.headers.get("Location", "").lower()


def test_the_strict_client_binds_each_sessions_tokens_to_a_key_of_its_own(strict: WalkedWorld) -> None:
    assert strict.dpop is not None
    before = len(strict.dpop.accepted)
    for user in ("alice", "bob"):
        with BrowserClient(strict.bff.origin) as browser:
            browser.log_in(user)
            assert browser.get("/api/of_the_user/things").status_code == 200
            assert browser.get("/api/of_the_bff/things").status_code == 200
    alice, own, bob, own_again = [proof["jkt"] for proof in strict.dpop.accepted[before:]]
    assert own == own_again
    assert len({alice, bob, own}) == 3
    assert set(strict.dpop.refusals) == {"use_dpop_nonce"}, "each worker's first call, and nothing else"


def test_the_strict_client_registered_once_for_all_its_workers(strict: WalkedWorld) -> None:
    """The initial access token is good for one registration; a second would have been refused, and reported."""
    registered = (strict.bff.directory / "keys" / FILE_NAME).read_text(encoding="utf-8")
    assert json.loads(registered)["client"]["granted"]["token_endpoint_auth_method"] == "private_key_jwt"
