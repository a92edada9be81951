"""Which token a service gets, and what happens while none can be had (attack rows T11, T13 and T22)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ServiceTokenUnavailableError, SessionExpiredError
from app.core.routes import Service, ServiceToken, TokenMode
from app.services.control_http import ControlHttp
from app.services.dpop_key import BoundToken
from app.services.key_ring import KeyRing
from app.services.oidc_claims import ClaimSelection
from app.services.oidc_client import OidcClient
from app.services.own_dpop_key import RECORD_NAME, OwnDpopKey
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import SessionStore
from app.services.session_tokens import SessionTokens
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_provider import BACK_OFF_SECONDS, SPENT_SECONDS, TokenProvider
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import OidcSettings, SessionSettings
from tests.support.fake_idp import ISSUER, FakeIdp

SESSION_KEY = "a" * 64


def build_service(name: str = "crud", mode: TokenMode = "client_credentials", **token: Any) -> Service:
    return Service(
        name=name,
        base_urls=("http://crud.example.com",),
        token=ServiceToken(mode=mode, **token),
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        total_timeout_seconds=0,
        retry=0,
        max_connections=1,
        breaker_failures=1,
        breaker_reset_seconds=1,
    )


CRUD = build_service(audience="https://crud.example.com", scope="application.all")


class World:
    """Workers that share a store and a provider."""

    def __init__(self, directory: Path, idp: FakeIdp) -> None:
        self.idp = idp
        self.now = 1_700_000_000.0
        self.state_directory = directory / "state"
        self.state_store = DirectoryStateStore(self.state_directory, self.clock)
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.token_store = TokenStore(self.state_store, self.key_ring, clock=self.clock)

    def clock(self) -> float:
        return self.now

    def start_worker(self, refresh_ahead_seconds: float = 60) -> TokenProvider:
        settings = OidcSettings.model_validate(
            {
                "issuer": ISSUER,
                "client_id": "bff",
                "client_auth": "client_secret_post",
                "client_secret": "a-secret-of-some-length",
            }
        )
        client = OidcClient(settings, http=ControlHttp(timeout_seconds=10), clock=self.clock, allow_http=False)
        session_store = SessionStore(self.state_store, self.key_ring, settings=SessionSettings(), clock=self.clock)
        session_tokens = SessionTokens(
            oidc_client=client,
            session_store=session_store,
            token_store=self.token_store,
            state_store=self.state_store,
            refresh_ahead_seconds=refresh_ahead_seconds,
            idp_timeout_seconds=10,
            refreshed_claims=RefreshedClaims(
                oidc_client=client,
                session_store=session_store,
                selection=ClaimSelection(role_sources=(), permission_sources=(), kept=()),
                asks_userinfo=False,
            ),
            count_refresh=lambda _outcome: None,
            count_session_ended=lambda _reason: None,
            clock=self.clock,
        )
        return TokenProvider(
            oidc_client=client,
            token_store=self.token_store,
            state_store=self.state_store,
            session_tokens=session_tokens,
            refresh_ahead_seconds=refresh_ahead_seconds,
            idp_timeout_seconds=10,
            clock=self.clock,
            get_own_dpop_key=OwnDpopKey(self.state_store, self.key_ring).get,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeIdp().serve() as idp:
        yield World(tmp_path, idp)


def assert_unavailable(provider: TokenProvider, service: Service = CRUD) -> ServiceTokenUnavailableError:
    with pytest.raises(ServiceTokenUnavailableError) as caught:
        provider.get(service, None)
    return caught.value


# No token, and the user's


def test_a_service_that_wants_no_token_gets_none(world: World) -> None:
    assert world.start_worker().get(build_service(mode="none"), SESSION_KEY) is None
    assert world.idp.forms == []


@pytest.mark.parametrize("mode", ["user", "resource", "exchange"])
def test_without_a_session_there_is_no_users_token(world: World, mode: TokenMode) -> None:
    with pytest.raises(SessionExpiredError):
        world.start_worker().get(build_service(mode=mode, audience="urn:crud"), None)


# The BFF's own


def test_our_own_token_is_asked_for_with_audience_and_scope_and_kept(world: World) -> None:
    worker = world.start_worker()
    assert [worker.get(CRUD, None) for _ in range(3)] == ["token-1"] * 3
    assert world.idp.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "application.all",
            "resource": "https://crud.example.com",
            "client_id": "bff",
            "client_secret": "a-secret-of-some-length",
        }
    ]


def test_t22_services_audiences_and_scopes_never_share_a_token(world: World) -> None:
    worker = world.start_worker()
    services = [
        build_service("a", audience="x", scope="y"),
        build_service("b", audience="x", scope="y"),
        build_service("a", audience="x", scope="z"),
        build_service("a", audience="z", scope="y"),
        build_service("a", audience="x", scope="y z"),
        build_service("a", audience="x y", scope="z"),
        build_service("a", audience="x y", scope=""),
        build_service("a", audience="", scope="x y"),
    ]
    tokens = [worker.get(service, None) for service in services]
    assert len(set(tokens)) == len(services)


def test_workers_share_a_token_through_the_store(world: World) -> None:
    assert world.start_worker().get(CRUD, None) == "token-1"
    assert world.start_worker().get(CRUD, None) == "token-1"
    assert len(world.idp.forms) == 1


def test_no_token_can_be_read_in_the_store(world: World) -> None:
    world.start_worker().get(CRUD, None)
    kept = [path.read_bytes() for path in world.state_directory.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"token-1" in body for body in kept)


def test_a_token_is_renewed_ahead_of_its_expiry(world: World) -> None:
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 239
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_a_token_that_another_worker_renewed_is_taken_over(world: World) -> None:
    first, second = world.start_worker(), world.start_worker()
    first.get(CRUD, None)
    second.get(CRUD, None)
    world.now += 240
    assert first.get(CRUD, None) == "token-2"
    assert second.get(CRUD, None) == "token-2"
    assert len(world.idp.forms) == 2


def test_a_token_that_lives_shorter_than_we_renew_ahead_is_not_renewed_on_every_call(world: World) -> None:
    world.idp.expires_in = 40
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 19
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_workers_share_a_token_that_lives_shorter_than_we_renew_ahead(world: World) -> None:
    world.idp.expires_in = 40
    assert world.start_worker().get(CRUD, None) == "token-1"
    world.now += 19
    assert world.start_worker().get(CRUD, None) == "token-1"
    world.now += 1
    assert world.start_worker().get(CRUD, None) == "token-2"


def test_a_token_of_unknown_lifetime_is_kept_for_a_few_minutes(world: World) -> None:
    world.idp.expires_in = None
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 239
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_t11_the_old_token_serves_while_the_provider_fails_and_not_a_second_longer(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.idp.failure = (500, {})
    world.now += 300 - SPENT_SECONDS - 1
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert_unavailable(worker)
    world.idp.failure = None
    world.now += BACK_OFF_SECONDS
    assert worker.get(CRUD, None) == f"token-{len(world.idp.forms)}"


def test_t11_a_worker_that_is_new_uses_the_stored_token_while_the_provider_fails(world: World) -> None:
    world.start_worker().get(CRUD, None)
    world.idp.failure = (503, {})
    world.now += 250
    assert world.start_worker().get(CRUD, None) == "token-1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": "invalid_client"}),
        (400, {"error": "invalid_grant"}),
        (400, {"error": "invalid_target"}),
        (200, {"access_token": "x", "token_type": "mac"}),
        (200, {}),
        (503, {}),
    ],
)
def test_t13_whatever_the_provider_says_it_is_503_and_nobody_is_logged_out(
    world: World, status: int, body: dict[str, str]
) -> None:
    world.idp.failure = (status, body)
    world.token_store.save(SESSION_KEY, TokenSet("users-token", "Bearer", None), 600)
    worker = world.start_worker()
    error = assert_unavailable(worker)
    assert error.status == 503
    assert worker.get(build_service(mode="user"), SESSION_KEY) == "users-token"


def test_after_a_failure_the_provider_is_left_alone_for_a_moment(world: World) -> None:
    world.idp.failure = (400, {"error": "invalid_scope"})
    worker = world.start_worker()
    for _ in range(5):
        assert_unavailable(worker)
    assert len(world.idp.forms) == 1
    world.now += BACK_OFF_SECONDS
    assert_unavailable(worker)
    assert len(world.idp.forms) == 2


def test_one_services_failure_does_not_keep_another_from_its_token(world: World) -> None:
    worker = world.start_worker()
    world.idp.failure = (400, {"error": "invalid_target"})
    assert_unavailable(worker)
    world.idp.failure = None
    assert worker.get(build_service("other"), None) == "token-2"


def get_together(count: int, worker: TokenProvider, may_answer: threading.Event) -> list[str]:
    """Calls from many threads; the provider answers once all of them have begun."""
    results: list[str] = []
    all_began = threading.Barrier(count + 1)

    def get() -> None:
        all_began.wait(10)
        try:
            results.append(str(worker.get(CRUD, None)))
        except ServiceTokenUnavailableError as error:
            results.append(error.code)

    threads = [threading.Thread(target=get) for _ in range(count)]
    for thread in threads:
        thread.start()
    all_began.wait(10)
    may_answer.set()
    for thread in threads:
        thread.join(20)
    return results


@pytest.mark.parametrize("failure", [None, (500, {})], ids=["answers", "fails"])
def test_many_calls_at_once_ask_once(world: World, failure: tuple[int, dict[str, str]] | None) -> None:
    worker = world.start_worker()
    world.idp.failure = failure
    world.idp.may_answer.clear()
    results = get_together(20, worker, world.idp.may_answer)
    assert results == (["token-1"] * 20 if failure is None else ["service_token_unavailable"] * 20)
    assert len(world.idp.forms) <= 1


def test_nobody_waits_for_a_renewal_while_the_old_token_is_good(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.now += 250
    world.idp.may_answer.clear()
    renewing = threading.Thread(target=worker.get, args=(CRUD, None))
    renewing.start()
    while len(world.idp.forms) < 2 and renewing.is_alive():
        renewing.join(0.01)
    assert worker.get(CRUD, None) == "token-1"
    world.idp.may_answer.set()
    renewing.join(10)
    assert worker.get(CRUD, None) == "token-2"


def test_a_store_that_fails_does_not_take_a_good_token_away(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.state_directory.rename(world.state_directory.with_name("gone"))
    world.state_directory.write_text("not a directory")
    world.now += 250
    assert worker.get(CRUD, None) == "token-1"


# In the background


def test_a_token_that_is_held_is_renewed_before_a_call_has_to(world: World) -> None:
    worker = world.start_worker()
    first = worker.get(CRUD, None)
    worker.renew_service_tokens()
    assert len(world.idp.forms) == 1, "it is not due"
    world.now += 241
    worker.renew_service_tokens()
    assert len(world.idp.forms) == 2
    assert worker.get(CRUD, None) != first
    assert len(world.idp.forms) == 2


def test_a_renewal_in_the_background_that_fails_disturbs_nobody(world: World) -> None:
    worker = world.start_worker()
    first = worker.get(CRUD, None)
    world.now += 241
    world.idp.failure = (500, {})
    worker.renew_service_tokens()
    assert worker.get(CRUD, None) == first


def test_there_is_nothing_to_renew_before_the_first_call(world: World) -> None:
    world.start_worker().renew_service_tokens()
    assert world.idp.forms == []


# Tokens bound to a key of ours (RFC 9449)

BOUND = build_service("bound", audience="https://crud.example.com", is_bound=True)


def get_bound(provider: TokenProvider) -> BoundToken:
    token = provider.get(BOUND, None)
    assert isinstance(token, BoundToken)
    return token


def test_a_bound_service_token_and_its_key_are_shared_by_all_workers(world: World) -> None:
    first, second = get_bound(world.start_worker()), get_bound(world.start_worker())
    assert first.access_token == second.access_token == "token-1"
    assert first.key.thumbprint == second.key.thumbprint == world.idp.jkts[0]


def test_all_bound_service_tokens_have_the_one_key_of_the_bff(world: World) -> None:
    worker = world.start_worker()
    get_bound(worker)
    worker.get(build_service("other", audience="urn:other", is_bound=True), None)
    world.now += 300
    get_bound(world.start_worker())
    assert len(world.idp.jkts) == 3
    assert len(set(world.idp.jkts)) == 1


def test_a_token_is_used_with_the_key_it_came_with_after_the_bffs_key_has_changed(world: World) -> None:
    first = get_bound(world.start_worker())
    world.state_store.delete(RECORD_NAME)
    assert get_bound(world.start_worker()).key.thumbprint == first.key.thumbprint
    world.now += 300
    renewed = get_bound(world.start_worker())
    assert renewed.key.thumbprint == world.idp.jkts[1] != first.key.thumbprint


def test_a_service_that_was_switched_does_not_get_the_token_from_before(world: World) -> None:
    plain = build_service("bound", audience="https://crud.example.com")
    worker = world.start_worker()
    assert worker.get(plain, None) == "token-1"
    assert get_bound(worker).access_token == "token-2"
    assert worker.get(plain, None) == "token-1"
    assert world.idp.jkts[0] is None


def test_a_service_token_that_comes_unbound_is_refused(world: World) -> None:
    world.idp.binds_tokens = False
    error = assert_unavailable(world.start_worker(), BOUND)
    assert "token_type is not DPoP" in error.internal_reason
