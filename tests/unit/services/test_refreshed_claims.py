"""What a refresh says about the user reaches the session, on every worker, and brings nothing back (L27)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from app.core.routes import Service, ServiceToken, TokenMode
from app.services.control_http import ControlHttp
from app.services.dpop_key import AccessToken, BoundToken
from app.services.oidc_claims import ClaimSelection
from app.services.oidc_client import OidcClient
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import SessionRecord, SessionStore, build_identity
from app.services.session_tokens import SessionTokens
from app.services.state_store import StateStore
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import OidcSettings
from tests.support.fake_idp import CLIENT_ID, ISSUER, FakeIdp
from tests.support.processes import wait_until
from tests.unit.services.session_store.support import IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched
from tests.unit.services.state_store.engines import ENGINES, Engine, SteppedClock, clock, place, state

__all__ = ["clock", "place", "state"]

LIFETIME_SECONDS = 300
SELECTION = ClaimSelection(
    role_sources=("roles", "realm_access.roles"), permission_sources=("permissions",), kept=("name", "email", "acr")
)
AT_LOGIN = {"name": "Alice", "email": "alice@example.com", "roles": ["editor", "admin"], "permissions": ["write"]}
CHANGES = ("add", "put", "put_if_current", "delete")


def build_service(mode: TokenMode, audience: str = "") -> Service:
    return Service(
        name="crud",
        base_urls=("http://crud.example.com",),
        token=ServiceToken(mode=mode, audience=audience),
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        total_timeout_seconds=0,
        retry=0,
        max_connections=1,
        breaker_failures=1,
        breaker_reset_seconds=1,
    )


USER, CRUD = build_service("user"), build_service("resource", "urn:crud")


class World:
    """A worker that refreshes, another one that does not, and the provider."""

    def __init__(self, state: StateStore, other_state: StateStore, clock: SteppedClock, idp: FakeIdp) -> None:
        self.idp = idp
        self.clock = clock
        self.state = state
        self.watched = Watched(state)
        self.sessions = SessionStore(self.watched, KEY_RING, settings=build_settings(), clock=clock)
        self.elsewhere = SessionStore(other_state, KEY_RING, settings=build_settings(), clock=clock)
        self.tokens = TokenStore(state, KEY_RING, clock=clock)
        self.outcomes: list[str] = []
        idp.clock = clock

    def start_worker(self, *, userinfo: bool = False, dpop: bool = False) -> SessionTokens:
        settings = OidcSettings.model_validate(
            {"issuer": ISSUER, "client_id": CLIENT_ID, "client_auth": "client_secret_post", "client_secret": "s" * 32}
        )
        client = OidcClient(settings, http=ControlHttp(timeout_seconds=10), clock=self.clock, allow_http=False)
        return SessionTokens(
            oidc_client=client,
            session_store=self.sessions,
            token_store=self.tokens,
            state_store=self.state,
            refresh_ahead_seconds=60,
            idp_timeout_seconds=10,
            refreshed_claims=RefreshedClaims(
                oidc_client=client, session_store=self.sessions, selection=SELECTION, asks_userinfo=userinfo
            ),
            count_refresh=self.outcomes.append,
            count_session_ended=lambda _reason: None,
            clock=self.clock,
            binds_user_tokens=dpop,
        )

    def log_in(self) -> str:
        """Makes a session whose tokens are over; returns its id."""
        session_id, _ = self.sessions.create(build_login(claims=AT_LOGIN))
        self.idp.refresh_token = "first-refresh"
        tokens = TokenSet(
            access_token="first",
            token_type="Bearer",
            expires_at=self.clock() - 1,
            refresh_token="first-refresh",
            id_token=self.idp.sign_id_token(sub="alice", **AT_LOGIN),
            obtained_at=self.clock() - LIFETIME_SECONDS,
        )
        assert self.tokens.save(self.sessions.session_key(session_id), tokens, 3600)
        self.watched.calls.clear()
        return session_id

    def say(self, **claims: object) -> None:
        """What the ID token of the next refreshes says; `sub` is the user of all sessions here."""
        self.idp.token_changes = {"id_token": self.idp.sign_id_token(sub="alice", **claims)}

    def refresh(self, session_id: str, service: Service = USER, *, userinfo: bool = False) -> AccessToken:
        return self.start_worker(userinfo=userinfo).get(service, self.sessions.session_key(session_id))

    def find(self, session_id: str) -> SessionRecord:
        """What the worker and the other one agree on."""
        record = self.sessions.find_stored_by_key(self.sessions.session_key(session_id))
        assert record is not None
        wait_until(lambda: self.elsewhere.find(session_id) == record, timeout_seconds=5, what="word of the change")
        return record

    def changes(self) -> list[str]:
        return [call for call in self.watched.calls if call in {f"{name} session" for name in CHANGES}]


@pytest.fixture(params=["directory", "redis"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def world(engine: Engine, place: str, state: StateStore, clock: SteppedClock) -> Iterator[World]:
    other_state = engine.open(place, clock)
    other_state.start()
    with FakeIdp().serve() as idp:
        yield World(state, other_state, clock, idp)
    other_state.close()


# Without UserInfo


def test_what_the_new_id_token_says_replaces_what_was_there_on_every_worker(world: World) -> None:
    session_id = world.log_in()
    before = world.find(session_id)
    world.say(name="Alice Smith", roles=["editor"])
    assert world.refresh(session_id) == "token-1"
    after = world.find(session_id)
    assert after.claims == {**AT_LOGIN, "name": "Alice Smith", "roles": ["editor"]}
    put_back = msgspec.structs.replace(after, claims=before.claims, claims_version=before.claims_version)
    assert put_back == before, "nothing else changes"


def test_a_service_s_refresh_that_brings_an_id_token_tells_the_same(world: World) -> None:
    session_id = world.log_in()
    world.say(roles=[])
    world.refresh(session_id, CRUD)
    assert world.find(session_id).claims["roles"] == []


@pytest.mark.parametrize(
    "token_changes", [{}, {"id_token": None}, {"id_token": "same"}, {"id_token": "nothing"}], ids=str
)
def test_where_nothing_changed_nothing_is_written(world: World, token_changes: dict[str, object]) -> None:
    session_id = world.log_in()
    said = {"same": AT_LOGIN, "nothing": {}}
    if token_changes.get("id_token"):
        world.say(**said[str(token_changes["id_token"])])
    world.refresh(session_id)
    assert world.find(session_id).claims == AT_LOGIN
    assert world.changes() == []


def test_who_the_user_is_and_how_the_user_logged_in_stays(world: World) -> None:
    session_id = world.log_in()
    before = world.find(session_id)
    world.say(email="other@example.com", acr="urn:weaker", auth_time=1, sid="another", roles=["editor"])
    world.refresh(session_id)
    after = world.find(session_id)
    assert after.claims["roles"] == ["editor"]
    assert (after.user_id, after.acr, after.auth_time, after.idp_session_id) == (
        before.user_id,
        before.acr,
        before.auth_time,
        before.idp_session_id,
    )


def test_what_only_a_newer_worker_knows_is_kept(world: World) -> None:
    session_id = world.log_in()
    name = f"session:{world.sessions.session_key(session_id)}"
    stored = world.state.find(name)
    assert stored is not None
    newer = {**msgspec.msgpack.decode(KEY_RING.open(stored.value, name)), "colour": "red"}
    world.state.put(name, KEY_RING.seal(msgspec.msgpack.encode(newer), name), IDLE)
    world.say(roles=[])
    world.refresh(session_id)
    stored = world.state.find(name)
    assert stored is not None
    fields = msgspec.msgpack.decode(KEY_RING.open(stored.value, name))
    assert (fields["colour"], fields["claims"]["roles"]) == ("red", [])


# With UserInfo


def test_with_userinfo_the_claims_are_made_anew_as_at_a_login(world: World) -> None:
    session_id = world.log_in()
    world.say(acr="urn:mfa", name="of the ID token")
    world.idp.userinfo = {"sub": "alice", "name": "of UserInfo", "roles": ["editor"], "acr": "evil"}
    assert world.refresh(session_id, userinfo=True) == "token-1"
    assert world.find(session_id).claims == {
        "acr": "urn:mfa",
        "name": "of UserInfo",
        "roles": ["editor"],
        "permissions": [],
    }
    assert world.idp.userinfo_tokens == ["token-1"]


def test_without_a_new_id_token_the_last_one_speaks_beside_userinfo(world: World) -> None:
    session_id = world.log_in()
    world.idp.userinfo = {"sub": "alice", "roles": []}
    world.refresh(session_id, userinfo=True)
    assert world.find(session_id).claims == {**AT_LOGIN, "roles": []}


def test_roles_that_userinfo_does_not_speak_of_any_more_are_lost(world: World) -> None:
    session_id = world.log_in()
    world.say()
    world.idp.userinfo = {"sub": "alice", "name": "Alice"}
    world.refresh(session_id, userinfo=True)
    assert world.find(session_id).claims == {"name": "Alice", "roles": [], "permissions": []}


def test_a_bound_token_goes_to_userinfo_with_a_proof(world: World) -> None:
    """RFC 9449 §7."""
    session_id = world.log_in()
    world.idp.token_changes = {"token_type": "DPoP"}
    world.idp.userinfo = {"sub": "alice", "roles": []}
    key = world.sessions.session_key(session_id)
    assert isinstance(world.start_worker(userinfo=True, dpop=True).get(USER, key), BoundToken)
    assert world.idp.userinfo_tokens == ["DPoP token-1"]
    assert world.find(session_id).claims["roles"] == []


def test_userinfo_is_not_asked_with_a_token_that_is_for_a_service(world: World) -> None:
    session_id = world.log_in()
    world.say(roles=[])
    world.refresh(session_id, CRUD, userinfo=True)
    assert world.idp.userinfo_tokens == []
    assert world.find(session_id).claims == AT_LOGIN


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, "", id="500"),
        pytest.param(401, "", id="401"),
        pytest.param(200, "nonsense", id="no-json"),
        pytest.param(200, json.dumps({"sub": "mallory", "roles": ["admin"]}), id="T16-another-subject"),
        pytest.param(200, json.dumps({"roles": ["admin"]}), id="no-subject"),
        pytest.param(200, json.dumps({"sub": "alice", "name": "x" * 40_000}), id="too-large"),
        pytest.param(200, json.dumps({"sub": "alice", "name": 2**80}), id="huge-number"),
        pytest.param(200, '{"sub": "alice", "name": "\\ud800"}', id="lone-surrogate"),
    ],
)
def test_userinfo_that_fails_keeps_the_claims_and_fails_no_refresh(world: World, status: int, body: str) -> None:
    session_id = world.log_in()
    world.say(roles=[])
    world.idp.userinfo_failure = status, body
    with capture_logs() as lines:
        assert world.refresh(session_id, userinfo=True) == "token-1"
    assert [line["event"] for line in lines] == ["claims.not_refreshed"]
    assert "mallory" not in str(lines)
    assert world.find(session_id).claims == AT_LOGIN
    assert world.outcomes == ["completed"]
    assert world.tokens.find(world.sessions.session_key(session_id)) is not None


# At the same time


def test_a_session_that_ends_meanwhile_stays_ended(world: World) -> None:
    session_id = world.log_in()
    world.say(roles=[])
    world.watched.before["put_if_current session"] = lambda _: world.elsewhere.end(session_id)
    world.refresh(session_id)
    assert "put_if_current session" in world.watched.calls
    world.watched.before.clear()
    assert world.state.find(f"session:{world.sessions.session_key(session_id)}") is None


def once(world: World, act: Callable[[], object]) -> Callable[[str], object]:
    """Does something else to the record just before it is replaced."""

    def interfere(_: str) -> None:
        world.watched.before.clear()
        act()

    return interfere


def test_a_touch_at_the_same_time_loses_neither(world: World) -> None:
    session_id = world.log_in()
    record = world.find(session_id)
    world.clock.step(TOUCH)
    world.say(roles=[])
    world.watched.before["put_if_current session"] = once(world, lambda: world.elsewhere.touch(session_id, record))
    world.refresh(session_id)
    after = world.find(session_id)
    assert (after.claims["roles"], after.last_seen_at) == ([], world.clock.now)


def test_a_touch_takes_no_claims_back(world: World) -> None:
    session_id = world.log_in()
    record = world.find(session_id)
    world.clock.step(TOUCH)
    key = world.sessions.session_key(session_id)
    claims = {**AT_LOGIN, "roles": []}
    world.watched.before["put_if_current session"] = once(
        world, lambda: world.elsewhere.change_claims(key, lambda _: claims)
    )
    world.sessions.touch(session_id, record)
    assert world.find(session_id).claims == claims


def test_changes_of_two_workers_at_once_are_made_one_after_the_other(world: World) -> None:
    session_id = world.log_in()
    key = world.sessions.session_key(session_id)
    world.say(roles=[])
    world.watched.before["put_if_current session"] = once(
        world, lambda: world.elsewhere.change_claims(key, lambda claims: {**claims, "name": "Alice Smith"})
    )
    world.refresh(session_id)
    assert world.find(session_id).claims == {**AT_LOGIN, "name": "Alice Smith", "roles": []}
    assert world.find(session_id).claims_version == 2


def test_l27_decisions_about_claims_that_are_gone_are_remembered_for_nobody(world: World) -> None:
    session_id = world.log_in()
    scopes = []
    for roles in (AT_LOGIN["roles"], [], AT_LOGIN["roles"]):  # in the end as they were, and the policies may not be
        world.say(roles=roles)
        world.refresh(session_id)
        scopes.append(build_identity(world.find(session_id)).decision_scope)
        world.clock.step(300)
    assert [scope[-1] for scope in scopes] == ["0", "1", "2"]


def test_a_record_that_others_change_all_the_time_keeps_its_claims_and_fails_no_refresh(world: World) -> None:
    session_id = world.log_in()
    world.say(roles=[])
    name = f"session:{world.sessions.session_key(session_id)}"
    stored = world.state.find(name)
    assert stored is not None
    world.watched.before["put_if_current session"] = lambda _: world.state.put(name, stored.value, IDLE)
    with capture_logs() as lines:
        assert world.refresh(session_id) == "token-1"
    assert [line["event"] for line in lines] == ["claims.not_refreshed"]


# The trail


def read_events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if '"claims.changed"' in line]


def test_the_trail_tells_that_roles_changed_and_no_values(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    session_id = world.log_in()
    world.say(roles=["editor"], name="Alice Smith")
    world.refresh(session_id)
    output = capfd.readouterr().out
    [event] = read_events(output)
    reference = world.find(session_id).reference
    assert (event["user_id"], event["session"], event["claims"]) == ("alice", reference, ["name", "roles"])
    assert "Smith" not in output


def test_a_new_name_is_nothing_for_the_trail(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    session_id = world.log_in()
    world.say(name="Alice Smith")
    world.refresh(session_id)
    assert world.find(session_id).claims["name"] == "Alice Smith"
    assert read_events(capfd.readouterr().out) == []
