"""The logout's steps, with the times and failures that the real provider cannot be made to have."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.core.errors import BadRequestError, UnsafeReturnToError
from app.services.login_attempts import hash_secret
from app.services.logout_flow import RETURN_LIFETIME_SECONDS, TICKET_LIFETIME_SECONDS
from tests.unit.services.flow_world import ORIGIN, World, world

__all__ = ["world"]


def get_ticket(url: str | None) -> str:
    assert url is not None
    assert url.startswith(f"{ORIGIN}/auth/logout/continue?ticket=")
    return url.partition("ticket=")[2]


def log_out(world: World, return_to: str = "") -> str:
    """Returns the ticket."""
    return get_ticket(
        world.logout_flow.end(world.log_in().session_id, own_origin=ORIGIN, return_to=return_to).logout_url
    )


def test_a_logout_ends_session_and_tokens_and_revokes_the_refresh_token(world: World) -> None:
    done = world.log_in()
    assert world.logout_flow.end(done.session_id, own_origin=ORIGIN).had_session
    assert not world.logout_flow.end(done.session_id, own_origin=ORIGIN).had_session
    assert world.session_store.find(done.session_id) is None
    assert world.token_store.find(world.session_store.session_key(done.session_id)) is None
    assert world.idp.revoked == ["refresh-1"]


def test_without_a_refresh_token_the_access_token_is_revoked(world: World) -> None:
    world.idp.token_changes = {"refresh_token": None}
    world.logout_flow.end(world.log_in().session_id, own_origin=ORIGIN)
    assert world.idp.revoked == ["token-1"]


@pytest.mark.parametrize("session_id", [None, "", "x", "x" * 43, "é" * 43])
def test_who_has_no_session_is_done_at_once(world: World, session_id: str | None) -> None:
    done = world.logout_flow.end(session_id, own_origin=ORIGIN, return_to="/bye")
    assert (done.logout_url, done.return_to) == (None, "/bye")
    assert world.idp.revoked == []


def test_a_ticket_lives_for_a_minute(world: World) -> None:
    early, late = log_out(world), log_out(world)
    world.now += TICKET_LIFETIME_SECONDS - 1
    assert world.logout_flow.continue_(early, own_origin=ORIGIN).startswith("https://idp.example.com/end?")
    world.now += 1
    with pytest.raises(BadRequestError):
        world.logout_flow.continue_(late, own_origin=ORIGIN)


def test_the_way_back_is_kept_for_as_long_as_the_providers_pages_may_take(world: World) -> None:
    states = []
    for _ in range(2):
        url = world.logout_flow.continue_(log_out(world, "/bye"), own_origin=ORIGIN)
        states.append(dict(parse_qsl(urlsplit(url).query))["state"])
    world.now += RETURN_LIFETIME_SECONDS - 1
    assert world.logout_flow.logged_out(states[0], own_origin=ORIGIN) == "/bye"
    assert world.logout_flow.logged_out(states[0], own_origin=ORIGIN) is None
    world.now += 1
    assert world.logout_flow.logged_out(states[1], own_origin=ORIGIN) is None


def test_l15_a_provider_that_stalls_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.token_revocation.REVOCATION_SECONDS", 0.2)
    done = world.log_in()
    world.idp.may_answer.clear()
    assert world.logout_flow.end(done.session_id, own_origin=ORIGIN).logout_url is not None
    assert world.idp.revoked == []
    assert world.session_store.find(done.session_id) is None
    world.idp.may_answer.set()


def test_l15_a_provider_that_refuses_to_revoke_stops_nothing(world: World) -> None:
    done = world.log_in()
    world.idp.failure = (400, {"error": "unsupported_token_type"})
    assert world.logout_flow.end(done.session_id, own_origin=ORIGIN).logout_url is not None
    assert world.session_store.find(done.session_id) is None


@pytest.mark.parametrize("missing", ["revocation_endpoint", "end_session_endpoint"])
def test_a_provider_may_lack_either_endpoint(world: World, missing: str) -> None:
    del world.idp.metadata[missing]
    done = world.log_in()
    logout = world.logout_flow.end(done.session_id, own_origin=ORIGIN)
    assert (logout.logout_url is None) is (missing == "end_session_endpoint")
    assert world.session_store.find(done.session_id) is None


def test_l15_a_store_that_is_away_ends_the_session_here_now_and_for_all_later(world: World) -> None:
    done = world.log_in()
    world.break_store()
    assert world.logout_flow.end(done.session_id, own_origin=ORIGIN, return_to="/bye").logout_url is None
    world.mend_store()
    assert world.session_store.find(done.session_id) is None
    assert world.session_store.retry_unfinished_ends() == 1
    world.build()
    assert world.session_store.find(done.session_id) is None


def test_an_unsafe_return_address_ends_nothing(world: World) -> None:
    done = world.log_in()
    with pytest.raises(UnsafeReturnToError):
        world.logout_flow.end(done.session_id, own_origin=ORIGIN, return_to="//evil.example")
    assert world.session_store.find(done.session_id) is not None


def test_l24_a_ticket_that_was_tampered_with_leads_nowhere(world: World) -> None:
    ticket = log_out(world)
    key = f"logout-ticket:{hash_secret(ticket)}"
    record = world.state_store.find(key)
    assert record is not None
    world.state_store.put(key, record.value[:-1] + bytes([record.value[-1] ^ 1]), 60)
    with pytest.raises(BadRequestError):
        world.logout_flow.continue_(ticket, own_origin=ORIGIN)


def test_neither_ticket_nor_id_token_can_be_read_in_the_store(world: World) -> None:
    done = world.log_in()
    tokens = world.token_store.find(world.session_store.session_key(done.session_id))
    assert tokens is not None
    assert tokens.id_token is not None
    ticket = get_ticket(world.logout_flow.end(done.session_id, own_origin=ORIGIN).logout_url)
    kept = [path.read_bytes() for path in world.directory.rglob("*") if path.is_file()]
    assert len(kept) >= 2
    assert not any(secret.encode() in body for secret in (ticket, tokens.id_token) for body in kept)


def test_login_and_logout_leave_a_trail_without_secrets(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    first = world.log_in()
    second = world.finish(*world.begin(live_session_id=first.session_id))
    ticket = get_ticket(world.logout_flow.end(second.session_id, own_origin=ORIGIN).logout_url)
    trail = capfd.readouterr().out
    events = [json.loads(line) for line in trail.splitlines() if '"log":"audit"' in line]
    assert [(event["event"], event.get("reason")) for event in events] == [
        ("login.started", None),
        ("login.completed", None),
        ("login.started", None),
        ("session.ended", "new_login"),
        ("login.completed", None),
        ("logout.completed", None),
        ("session.ended", "logout"),
        ("token.revoked", None),
    ]
    assert events[3]["session"] == first.record.reference
    secrets = [first.session_id, second.session_id, ticket, "token-1", "refresh-2", "code-1"]
    assert not [secret for secret in secrets if secret in trail]
