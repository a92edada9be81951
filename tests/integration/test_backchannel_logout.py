"""OIDC back-channel logout: what ends, and what does not (row L17)."""

from __future__ import annotations

import json

import pytest

from tests.integration.backchannel_world import (
    LogoutWorld,
    assert_accepted,
    client,
    log_in,
    mint,
    send,
    world,
)
from tests.integration.login_world import Browser

__all__ = ["client", "world"]

pytestmark = pytest.mark.live


def test_l17_a_sid_ends_the_session_of_that_name_and_no_other(world: LogoutWorld) -> None:
    app = world.build()
    old, old_sid = log_in(world, app)
    new, new_sid = log_in(world, app)
    assert old_sid != new_sid
    assert_accepted(send(app, mint(world, sid=old_sid)))
    assert not old.is_logged_in()
    assert new.is_logged_in()
    assert old.cookie(), "a 401 took the cookie"


def test_a_token_without_sid_ends_all_of_the_users_sessions_and_nobody_elses(world: LogoutWorld) -> None:
    app = world.build()
    browsers = [log_in(world, app)[0] for _ in range(2)]
    bob, _ = log_in(world, app, "bob")
    assert_accepted(send(app, mint(world)))
    assert [browser.is_logged_in() for browser in browsers] == [False, False]
    assert bob.is_logged_in()


def test_a_user_whose_id_is_another_claim_is_found_by_sub(world: LogoutWorld) -> None:
    app = world.build(oidc={"user_id_claim": "email", "userinfo": True})
    alice, _ = log_in(world, app)
    bob, _ = log_in(world, app, "bob")
    assert_accepted(send(app, mint(world)))
    assert not alice.is_logged_in()
    assert bob.is_logged_in()


def test_a_user_whose_id_reads_like_the_sub_of_another_is_left_alone(world: LogoutWorld) -> None:
    app = world.build(oidc={"user_id_claim": "nickname", "userinfo": True})
    world.op.mutate(userinfo={"set": {"nickname": "alice"}})
    bob, _ = log_in(world, app, "bob")
    assert_accepted(send(app, mint(world)))
    assert bob.is_logged_in()


def test_a_sid_alone_is_enough(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    assert_accepted(send(app, mint(world, sid=sid, fault={"drop": ["sub"]})))
    assert not browser.is_logged_in()


def test_the_sid_of_one_user_with_the_sub_of_another_ends_nothing(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    assert_accepted(send(app, mint(world, sub="bob", sid=sid)))
    assert browser.is_logged_in()


def test_a_session_whose_login_told_no_sid_ends_with_any_of_its_user(world: LogoutWorld) -> None:
    app = world.build()
    named, _ = log_in(world, app)
    world.op.mutate(id_token={"drop": ["sid"]})
    unnamed, bob = Browser(app), Browser(app)
    unnamed.log_in()
    bob.log_in("bob")
    assert_accepted(send(app, mint(world, sid="only-the-provider-knows-which")))
    assert not unnamed.is_logged_in()
    assert named.is_logged_in(), "another session, as its sid says"
    assert bob.is_logged_in()


def test_where_there_is_nothing_to_end_the_answer_is_200(world: LogoutWorld) -> None:
    app = world.build()
    assert_accepted(send(app, mint(world, sid="nobody-has-it")))
    assert_accepted(send(app, mint(world, sub="nobody")))


def test_another_worker_that_has_a_copy_knows_at_once(world: LogoutWorld) -> None:
    browser, sid = log_in(world, world.build())
    here, there = browser.app, world.build()
    assert browser.is_logged_in()
    browser.app = there
    assert_accepted(send(there, mint(world, sid=sid)))
    browser.app = here
    assert not browser.is_logged_in()


def test_a_user_who_was_logged_out_everywhere_may_log_in_again_at_once(world: LogoutWorld) -> None:
    app = world.build()
    log_in(world, app)
    assert_accepted(send(app, mint(world)))
    assert log_in(world, app)[0].is_logged_in()


def test_the_session_and_the_token_have_their_lines_in_the_audit_trail(
    world: LogoutWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    app = world.build()
    _, sid = log_in(world, app)
    token = mint(world, sid=sid)
    capfd.readouterr()
    assert_accepted(send(app, token))
    written = capfd.readouterr().out
    events = {line["event"]: line for line in map(json.loads, written.splitlines()) if line.get("log") == "audit"}
    assert events["session.ended"]["reason"] == "backchannel_logout"
    assert events["session.ended"]["user_id"] == "alice"
    assert events["logout.requested"]["ended"] == 1
    assert token not in written
    assert sid not in written


# What a login finds that was overtaken


@pytest.mark.parametrize("names_session", [True, False], ids=["sid", "sub"])
def test_a_logout_that_overtakes_the_login_it_ends_still_ends_it(world: LogoutWorld, names_session: bool) -> None:
    app = world.build()
    _, sid = log_in(world, app)
    browser = Browser(app)
    callback = browser.walk_to_callback()
    # The provider names the session that this login is for as the one that is about to end.
    world.op.mutate(id_token={"set": {"sid": sid}})
    assert_accepted(send(app, mint(world, sid=sid if names_session else "")))
    refused = browser.navigate(callback, site="cross-site")
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (400, "login_failed")
    assert "Try again" in refused.text
    assert not browser.is_logged_in()
    assert browser.cookie() is None


# Tokens of the ended session


def test_a_refresh_token_that_was_not_to_outlive_the_session_is_revoked(world: LogoutWorld) -> None:
    app = world.build(oidc={"scopes": ["openid"]})
    _, sid = log_in(world, app)
    answer = send(app, mint(world, sid=sid))
    assert_accepted(answer)
    assert len(world.op.events("grant.revoked")) == 1


def test_an_offline_refresh_token_is_left_to_the_provider(world: LogoutWorld) -> None:
    world.op.mutate(token={"set": {"scope": "openid offline_access"}})
    app = world.build()
    _, sid = log_in(world, app)
    assert_accepted(send(app, mint(world, sid=sid)))
    assert world.op.events("grant.revoked") == []
    assert "/token/revocation" not in [event["path"] for event in world.op.events("request")]
