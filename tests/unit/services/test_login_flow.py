"""The login's steps, with the times and failures that the real provider cannot be made to have."""

from __future__ import annotations

import json

import pytest

from app.core.errors import (
    IdpUnavailableError,
    LoginFailedError,
    LoginStateInvalidError,
    StoreUnavailableError,
    UnsafeReturnToError,
)
from app.services.dpop_key import parse_dpop_key
from app.services.login_attempts import LIFETIME_SECONDS
from app.services.login_flow import LoginDone
from app.services.session_store import SessionRecord
from app.services.token_store import TokenSet
from tests.unit.core.builders import build_route
from tests.unit.services.flow_world import ORIGIN, World, world

__all__ = ["world"]


def list_records(world: World) -> set[str]:
    return {str(path) for path in world.directory.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_login_makes_a_session_and_keeps_its_tokens_apart(world: World) -> None:
    done = world.finish(*world.begin("/app"))
    assert done.return_to == "/app"
    record = world.session_store.find(done.session_id)
    assert record is not None
    assert (record.user_id, record.subject, record.provider) == ("alice", "alice", "idp.example.com")
    assert record.device == "Browser/1"
    tokens = world.token_store.find(world.session_store.session_key(done.session_id))
    assert tokens is not None
    assert (tokens.access_token, tokens.refresh_token) == ("token-1", "refresh-1")
    assert tokens.expires_at == world.now + 300
    assert tokens.id_token is not None
    assert world.noted == [world.session_store.session_key(done.session_id)], "its renewal is planned"


def test_what_the_id_token_says_of_the_authentication_is_kept(world: World) -> None:
    world.idp.claims = {"auth_time": int(world.now) - 5, "acr": "gold", "sid": "idp-session"}
    record = world.log_in().record
    assert (record.auth_time, record.acr, record.idp_session_id) == (int(world.now) - 5, "gold", "idp-session")


def test_only_the_claims_that_the_settings_name_are_kept(world: World) -> None:
    world.idp.claims = {"name": "Ann", "groups": ["staff"], "salary": 7}
    assert world.log_in().record.claims == {"name": "Ann", "roles": ["staff"], "permissions": []}


def test_a_login_runs_out_after_ten_minutes(world: World) -> None:
    parameters, cookies = world.begin()
    world.now += LIFETIME_SECONDS
    with pytest.raises(LoginStateInvalidError):
        world.claim(parameters, cookies)
    assert world.idp.forms == []


def test_just_before_that_it_is_good(world: World) -> None:
    parameters, cookies = world.begin()
    world.now += LIFETIME_SECONDS - 1
    world.finish(parameters, cookies)


@pytest.mark.parametrize(("minutes", "is_good"), [(0.4, True), (-0.4, True), (6, False), (-1, False)])
def test_o8_clocks_may_differ_by_the_leeway(world: World, minutes: float, is_good: bool) -> None:
    parameters, cookies = world.begin()
    world.idp.clock = lambda: world.now - minutes * 60
    if is_good:
        world.finish(parameters, cookies)
        return
    with pytest.raises(LoginFailedError):
        world.finish(parameters, cookies)


def test_the_client_proves_itself_and_the_verifier_goes_along(world: World) -> None:
    world.log_in()
    (form,) = world.idp.forms
    assert form["redirect_uri"] == f"{ORIGIN}/auth/callback"
    assert len(form["code_verifier"]) == 43
    assert "client_secret" not in form


def test_a_code_is_sent_once_whatever_happens(world: World) -> None:
    parameters, cookies = world.begin()
    world.idp.failure = (503, {})
    with pytest.raises(IdpUnavailableError):
        world.finish(parameters, cookies)
    assert len(world.idp.forms) == 1
    world.idp.failure = None
    with pytest.raises(LoginStateInvalidError):
        world.finish(parameters, cookies)
    assert len(world.idp.forms) == 1


def test_both_sessions_that_were_there_before_are_ended(world: World) -> None:
    first, second = world.log_in(), world.log_in()
    parameters, cookies = world.begin(live_session_id=first.session_id)
    third = world.finish(parameters, cookies, presented_session_id=second.session_id)
    assert world.session_store.find(first.session_id) is None
    assert world.session_store.find(second.session_id) is None
    assert world.session_store.find(third.session_id) is not None
    assert third.ended_sessions == 2


@pytest.mark.parametrize("odd", ["", "x", "../../x", "é" * 43])
def test_an_odd_session_cookie_ends_nothing_and_stops_nothing(world: World, odd: str) -> None:
    parameters, cookies = world.begin(live_session_id=odd)
    world.finish(parameters, cookies, presented_session_id=odd)


def test_a_login_over_a_live_session_revokes_nothing(world: World) -> None:
    """The tokens of both logins may hang on one grant: revoking the old refresh token would end the new ones."""
    first = world.log_in()
    world.finish(*world.begin(live_session_id=first.session_id))
    assert world.idp.revoked == []


def test_a_session_whose_tokens_cannot_be_kept_is_not_left_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise StoreUnavailableError

    monkeypatch.setattr(world.token_store, "save", fail)
    with pytest.raises(StoreUnavailableError):
        world.log_in()
    keys = world.session_store.find_keys_of_user("alice")
    assert not [key for key in keys if world.session_store.find_by_key(key)]


def test_a_session_that_was_ended_while_its_login_was_under_way_is_no_login(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.token_store, "save", lambda *_: False)
    with pytest.raises(LoginFailedError):
        world.log_in()


def test_a_store_that_is_away_starts_no_login_and_spoils_none(world: World) -> None:
    parameters, cookies = world.begin()
    world.break_store()
    with pytest.raises(StoreUnavailableError):
        world.begin()
    with pytest.raises(StoreUnavailableError):
        world.claim(parameters, cookies)
    world.mend_store()
    world.finish(parameters, cookies)


def test_a_failed_login_keeps_nothing(world: World) -> None:
    world.idp.claims = {"nonce": "another"}
    before = list_records(world)
    parameters, cookies = world.begin()
    assert len(list_records(world) - before) == 2  # the pending login and the count of logins
    claimed = world.claim(parameters, cookies)
    with pytest.raises(LoginFailedError):
        world.login_flow.finish(claimed, presented_session_id=None, device="")
    assert len(list_records(world) - before) == 1


def test_a_refused_start_keeps_nothing(world: World) -> None:
    world.begin()
    before = list_records(world)
    with pytest.raises(UnsafeReturnToError):
        world.begin("//evil.example")
    assert list_records(world) == before


def test_claims_too_large_for_a_session_end_the_login(world: World) -> None:
    world.idp.claims = {"name": "x" * 40_000}
    with pytest.raises(LoginFailedError):
        world.log_in()


@pytest.mark.parametrize(
    ("return_to", "same_site", "needs_page"),
    [
        ("/files/a.pdf", "Strict", True),
        ("/files/a.pdf?x#y", "Strict", True),
        (f"{ORIGIN}/files/a.pdf", "Strict", True),
        ("/files/a.pdf", "Lax", False),
        ("/api/forms", "Strict", False),
        ("/", "Strict", False),
        (ORIGIN, "Strict", False),
    ],
)
def test_a_page_goes_on_where_a_redirect_would_come_without_the_cookie(
    world: World, return_to: str, same_site: str, needs_page: bool
) -> None:
    world.routes = [build_route("/files/*", "/{path}", navigation=True), build_route("/api/*", "/{path}")]
    world.build(session={"cookie": {"same_site": same_site}})
    assert world.finish(*world.begin(return_to)).needs_page is needs_page


def test_no_secret_is_in_a_repr(world: World) -> None:
    parameters, cookies = world.begin()
    claimed = world.claim(parameters, cookies)
    done = world.login_flow.finish(claimed, presented_session_id=None, device="")
    secrets = [value for _, value in parameters] + [
        done.session_id,
        claimed.attempt.nonce,
        claimed.attempt.code_verifier,
    ]
    text = f"{claimed!r}{done!r}"
    assert not [secret for secret in secrets if secret in text]


# session.max_per_user


def test_a_login_beyond_the_limit_ends_the_oldest_session_and_tells_the_trail(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.build(session={"max_per_user": 2})
    first = world.log_in()
    world.now += 1
    second = world.log_in()
    assert (first.ended_by_limit, second.ended_by_limit) == (0, 0)
    world.now += 1
    capfd.readouterr()
    third = world.log_in()
    assert third.ended_by_limit == 1
    assert world.session_store.find(first.session_id) is None
    assert world.token_store.find(world.session_store.session_key(first.session_id)) is None
    assert world.session_store.find(second.session_id) is not None
    assert world.session_store.find(third.session_id) is not None
    [ended] = [line for line in capfd.readouterr().out.splitlines() if '"session.ended"' in line]
    assert json.loads(ended)["reason"] == "session_limit"
    assert json.loads(ended)["session"] == first.record.reference
    assert world.idp.revoked == []


def test_a_session_that_the_login_replaces_does_not_count(world: World) -> None:
    world.build(session={"max_per_user": 2})
    first, second = world.log_in(), world.log_in()
    third = world.finish(*world.begin(), presented_session_id=second.session_id)
    assert (third.ended_sessions, third.ended_by_limit) == (1, 0)
    assert world.session_store.find(first.session_id) is not None


def test_a_login_that_fails_ends_no_other_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build(session={"max_per_user": 1})
    first = world.log_in()
    monkeypatch.setattr(world.token_store, "save", lambda *_: False)
    with pytest.raises(LoginFailedError):
        world.log_in()
    assert world.session_store.find(first.session_id) is not None


def test_a_login_whose_limit_cannot_be_kept_leaves_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build(session={"max_per_user": 1})
    first = world.log_in()
    first_key = world.session_store.session_key(first.session_id)
    really_end = world.session_store.end_by_key

    def end(key: str, *, has_successor: bool = False) -> SessionRecord | None:
        if key == first_key:
            raise StoreUnavailableError
        return really_end(key, has_successor=has_successor)

    monkeypatch.setattr(world.session_store, "end_by_key", end)
    with pytest.raises(StoreUnavailableError):
        world.log_in()
    assert world.session_store.find_keys_of_user("alice") == {first_key}


def test_without_a_limit_sessions_add_up(world: World) -> None:
    logins = [world.log_in() for _ in range(5)]
    assert all(world.session_store.find(login.session_id) for login in logins)


# Tokens bound to a key of the session's (RFC 9449)


def find_tokens(world: World, done: LoginDone) -> TokenSet:
    tokens = world.token_store.find(world.session_store.session_key(done.session_id))
    assert tokens is not None
    return tokens


def test_a_login_names_its_key_proves_it_and_keeps_it(world: World) -> None:
    world.build(oidc={"dpop": True})
    parameters, cookies = world.begin()
    (login,) = world.idp.codes.values()
    tokens = find_tokens(world, world.finish(parameters, cookies))
    assert tokens.token_type == "DPoP"
    assert tokens.dpop_key is not None
    assert login["dpop_jkt"] == world.idp.jkts[0] == parse_dpop_key(tokens.dpop_key).thumbprint


def test_no_two_logins_have_the_same_key(world: World) -> None:
    world.build(oidc={"dpop": True})
    assert len({find_tokens(world, world.log_in()).dpop_key for _ in range(3)}) == 3


def test_the_key_of_a_pending_login_lies_sealed(world: World) -> None:
    world.build(oidc={"dpop": True})
    world.begin()
    kept = b"".join(path.read_bytes() for path in world.directory.rglob("*") if path.is_file())
    assert b"P-256" not in kept


@pytest.mark.parametrize("was_on", [True, False])
def test_a_login_that_is_under_way_while_the_setting_changes_comes_to_its_end(world: World, was_on: bool) -> None:
    world.build(oidc={"dpop": was_on})
    parameters, cookies = world.begin()
    world.build(oidc={"dpop": not was_on})
    assert find_tokens(world, world.finish(parameters, cookies)).token_type == "DPoP"


def test_a_login_whose_token_comes_unbound_is_refused(world: World) -> None:
    """RFC 9449 §5: whoever took the answer on its way could use the token."""
    world.build(oidc={"dpop": True})
    world.idp.binds_tokens = False
    with pytest.raises(LoginFailedError) as caught:
        world.log_in()
    assert "token_type is not DPoP" in caught.value.internal_reason


def test_without_the_setting_no_key_is_named(world: World) -> None:
    world.begin()
    (login,) = world.idp.codes.values()
    assert "dpop_jkt" not in login
