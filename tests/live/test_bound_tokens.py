"""Bound tokens with everything real: a provider that wants nonces, two workers, a backend that checks every proof."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from app.services.key_ring import KeyRing, build_default_key_file
from app.services.own_dpop_key import RECORD_NAME
from app.services.session_store import build_session_key
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_store import TokenSet, TokenStore
from tests.support.bff import Bff, build_route, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.dpop_backend import DpopBackend
from tests.support.log_scan import find_leaks
from tests.support.processes import free_port
from tests.support.raw_backend import RawBackend
from tests.support.real_op import CRUD_AUDIENCE, RealOp, start_op

pytestmark = pytest.mark.live

WORKERS = 2
USERS_PATHS = ("/api/user/forms", "/api/resource/forms", "/api/exchange/forms")
AUDIENCES = [CRUD_AUDIENCE, "urn:test:api:llm"]
SCOPES = ["openid", "profile", "email", "roles", "offline_access", "crud:read", "llm:chat"]
TOKENS: dict[str, dict[str, Any]] = {
    "own": {"mode": "client_credentials", "audience": CRUD_AUDIENCE},
    "user": {"mode": "user"},
    "resource": {"mode": "resource", "audience": CRUD_AUDIENCE},
    "exchange": {"mode": "exchange", "audience": CRUD_AUDIENCE},
    "plain": {"mode": "resource", "audience": "urn:test:api:llm", "dpop": False},
}


@dataclass(slots=True)
class Stack:
    """One provider, one BFF and the backend behind it."""

    op: RealOp
    bff: Bff
    backend: DpopBackend
    raw: RawBackend
    browsers: list[BrowserClient] = field(default_factory=list)

    def log_in(self, user: str = "alice") -> BrowserClient:
        browser = BrowserClient(self.bff.origin)
        self.browsers.append(browser)
        browser.log_in(user)
        return browser

    def open_state(self) -> tuple[DirectoryStateStore, KeyRing]:
        state = DirectoryStateStore(self.bff.state_directory, time.time)
        return state, KeyRing.load(build_default_key_file(self.bff.state_directory))

    def open_tokens(self) -> TokenStore:
        return TokenStore(*self.open_state(), clock=time.time)

    def find_tokens(self, browser: BrowserClient) -> TokenSet:
        tokens = self.open_tokens().find(build_session_key(browser.session_cookie()))
        assert tokens is not None
        return tokens

    def take_accepted(self) -> list[dict[str, Any]]:
        taken = list(self.backend.accepted)
        self.backend.accepted.clear()
        self.backend.refusals.clear()
        return taken


@pytest.fixture(scope="module")
def stack_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("bound")
    op = start_op(directory, OP_DPOP_NONCE="1", OP_REQUIRE_PAR="1")
    backend = DpopBackend(nonce="first-nonce-of-the-backend")
    with backend.serve() as raw:
        port = free_port()
        routes = {
            "services": {name: {"base_url": raw.url, "token": token} for name, token in TOKENS.items()},
            "routes": [build_route(f"/api/{name}/*", name, "/{path}") for name in TOKENS],
        }
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=op.register_client(f"http://localhost:{port}"),
            backend_url=raw.url,
            port=port,
            workers=WORKERS,
            settings={"oidc": {"dpop": True, "resources": AUDIENCES, "scopes": SCOPES}},
            routes=routes,
        )
        stack = Stack(op, bff, backend, raw)
        try:
            yield stack
        finally:
            for browser in stack.browsers:
                browser.http.close()
            bff.stop()
            op.stop()


@pytest.fixture
def stack(stack_process: Stack) -> Stack:
    stack_process.op.clear_faults()
    stack_process.take_accepted()
    return stack_process


def test_a_users_tokens_are_all_bound_to_the_sessions_key(stack: Stack) -> None:
    alice = stack.log_in()
    assert [alice.get(path).status_code for path in USERS_PATHS] == [200] * 3
    proofs = stack.take_accepted()
    tokens = stack.find_tokens(alice)
    assert tokens.token_type == "DPoP"
    assert len({proof["token"] for proof in proofs}) == 3
    assert len({proof["jkt"] for proof in proofs}) == 1
    assert {proof["htu"] for proof in proofs} == {f"{stack.raw.url}/forms"}

    again = stack.log_in()
    assert again.get("/api/user/forms").status_code == 200
    assert stack.take_accepted()[0]["jkt"] != proofs[0]["jkt"]


def test_the_bffs_own_token_has_one_key_for_all_workers(stack: Stack) -> None:
    alice = stack.log_in()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: alice.get("/api/own/forms").status_code, range(24))) == {200}
    proofs = stack.take_accepted()
    assert len({(proof["token"], proof["jkt"]) for proof in proofs}) == 1
    assert len({proof["jti"] for proof in proofs}) == 24


def test_a_refresh_keeps_the_key_and_is_made_once(stack: Stack) -> None:
    alice = stack.log_in()
    alice.get("/api/user/forms")
    (before,) = stack.take_accepted()
    stored = stack.find_tokens(alice)
    key = build_session_key(alice.session_cookie())
    stack.op.reset()
    assert stack.open_tokens().save(key, replace(stored, expires_at=time.time() - 1), 3600)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: alice.get("/api/user/forms").status_code, range(16))) == {200}
    after = stack.take_accepted()
    assert {proof["jkt"] for proof in after} == {before["jkt"]}
    assert {proof["token"] for proof in after} != {before["token"]}
    refreshed = [event for event in stack.op.events("grant.success") if event["grant_type"] == "refresh_token"]
    assert len(refreshed) == 1
    assert stack.find_tokens(alice).dpop_key == stored.dpop_key


def test_a_backend_that_changes_its_nonce_costs_a_worker_one_more_call_and_nobody_a_failure(stack: Stack) -> None:
    alice = stack.log_in()
    alice.get("/api/user/forms")
    stack.take_accepted()
    stack.backend.nonce = "second-nonce-of-the-backend"
    assert [alice.get("/api/user/forms").status_code for _ in range(12)] == [200] * 12
    assert set(stack.backend.refusals) <= {"use_dpop_nonce"}
    assert 1 <= len(stack.backend.refusals) <= WORKERS
    assert {proof["nonce"] for proof in stack.take_accepted()} == {"second-nonce-of-the-backend"}


def test_a_small_body_is_sent_again(stack: Stack) -> None:
    alice = stack.log_in()
    stack.backend.nonce = "third-nonce-of-the-backend"
    assert alice.post("/api/user/forms", data="small").status_code == 200
    assert [request.body for request in stack.raw.requests[-2:]] == [b"small", b"small"]


def test_with_a_large_body_the_caller_has_to_try_again(stack: Stack) -> None:
    """Each worker hears of the nonce with a first refusal, so one try more than there are workers is enough."""
    alice = stack.log_in()
    stack.backend.nonce = "fourth-nonce-of-the-backend"
    answers = [alice.post("/api/user/forms", data="x" * 100_000) for _ in range(WORKERS + 1)]
    assert (answers[0].status_code, answers[0].headers["X-BFF-Error"]) == (503, "service_token_unavailable")
    assert 200 in [answer.status_code for answer in answers]


def test_proofs_and_nonces_are_between_us_and_the_backend(stack: Stack) -> None:
    alice = stack.log_in()
    stack.backend.next_nonce = "fifth-nonce-of-the-backend"
    answer = alice.get("/api/user/forms", headers={"DPoP": "eyJ.of.the-client", "Authorization": "DPoP of-the-client"})
    assert answer.status_code == 200
    assert "DPoP-Nonce" not in answer.headers
    assert stack.backend.nonce == "fifth-nonce-of-the-backend"


def test_a_service_that_takes_no_bound_tokens_gets_a_bearer_token(stack: Stack) -> None:
    alice = stack.log_in()
    answer = alice.get("/api/plain/forms")
    assert answer.status_code == 401, "this backend wants bound ones"
    assert "X-BFF-Error" not in answer.headers
    assert "WWW-Authenticate" not in answer.headers
    request = stack.raw.requests[-1]
    assert request.get_all("Authorization")[0].startswith(b"Bearer ")
    assert request.get_all("DPoP") == []


def test_a_provider_that_gives_an_unbound_token_makes_no_session(stack: Stack) -> None:
    browser = BrowserClient(stack.bff.origin)
    callback = browser.walk_to_callback("alice")
    stack.op.mutate(token={"set": {"token_type": "Bearer"}})
    answer = browser.navigate(callback, site="cross-site")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "login_failed")
    assert not browser.is_logged_in()
    browser.http.close()


def test_no_key_proof_or_nonce_is_in_a_log(stack: Stack) -> None:
    alice = stack.log_in()
    for path in (*USERS_PATHS, "/api/own/forms", "/api/plain/forms"):
        alice.get(path)
    state, key_ring = stack.open_state()
    own = state.find(RECORD_NAME)
    assert own is not None
    session_key = stack.find_tokens(alice).dpop_key
    assert session_key is not None
    keys = [session_key, key_ring.open(own.value, bound_to=RECORD_NAME).decode()]
    private = [json.loads(key)["d"] for key in keys]
    nonces = [str(proof["nonce"]) for proof in stack.backend.accepted]
    secrets = [*keys, *private, *stack.backend.proofs, *nonces, *stack.op.secrets()]
    last = alice.get("/health/live").headers["X-Correlation-ID"]
    stack.bff.child.wait_until(lambda: last in stack.bff.child.read_log(), timeout_seconds=10, what="the last record")
    assert find_leaks([stack.bff.child.log_path], secrets) == []
    assert len(secrets) > 20
