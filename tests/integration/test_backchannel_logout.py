"""OIDC back-channel logout: what ends, what does not, and one table with one thing wrong at a time (rows L16, L17)."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.services.logout_refusals import MOST_REFUSALS
from tests.integration.login_world import ORIGIN, Browser, World, build_settings
from tests.support.real_op import OpClient, RealOp

pytestmark = pytest.mark.live

NOWHERE = "http://127.0.0.1:9/auth/backchannel-logout"
"""A client that names an address gets a `sid`; here no logout at the provider sends anything to it."""

PATH = "/auth/backchannel-logout"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class LogoutWorld(World):
    """With a client that the provider would tell of logouts."""

    def __init__(self, directory: Path, op: RealOp, client: OpClient) -> None:
        super().__init__(directory, op)
        self.settings = build_settings(directory, issuer=op.issuer, client=client)
        self.client = client


@pytest.fixture(scope="module")
def client(op_process: RealOp) -> OpClient:
    return op_process.register_client(ORIGIN, backchannel_logout_uri=NOWHERE, backchannel_logout_session_required=True)


@pytest.fixture
def world(tmp_path: Path, op: RealOp, client: OpClient) -> LogoutWorld:
    return LogoutWorld(tmp_path, op, client)


def send(app: Flask, logout_token: str, **options: Any) -> TestResponse:
    """What the provider does: no cookie, no Origin, no Fetch Metadata."""
    client = app.test_client(use_cookies=False)
    answer = client.post(PATH, base_url=ORIGIN, **({"data": {"logout_token": logout_token}} | options))
    answer.close()  # what is done once the answer is out
    return answer


def log_in(world: LogoutWorld, app: Flask, user: str = "alice") -> tuple[Browser, str]:
    """A browser that is logged in, and the name of its session at the provider."""
    before = set(world.op.secrets("id_token"))
    browser = Browser(app)
    browser.log_in(user)
    [id_token] = set(world.op.secrets("id_token")) - before
    claims = json.loads(base64.urlsafe_b64decode(id_token.split(".")[1] + "=="))
    return browser, str(claims["sid"])


def mint(world: LogoutWorld, *, sub: str = "alice", sid: str = "", fault: dict[str, Any] | None = None) -> str:
    ours = json.loads(json.dumps(fault).replace("CLIENT", world.client.client_id))
    return world.op.mint_logout_token(world.client, sub=sub, sid=sid, fault=ours)


def assert_accepted(answer: TestResponse) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.data == b""
    assert "Set-Cookie" not in answer.headers


def assert_refused(answer: TestResponse, status: int = 400, code: str = "bad_request") -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def read_audit(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("log") == "audit" and line["event"] == event]


# What ends


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


# One thing wrong at a time

FAULTS: dict[str, dict[str, Any]] = {
    "L16-typ-jwt": {"header": {"typ": "JWT"}},
    "L16-typ-of-an-access-token": {"header": {"typ": "at+jwt"}},
    "L16-typ-number": {"header": {"typ": 7}},
    "L16-typ-empty": {"header": {"typ": ""}},
    "L16-typ-missing": {"dropHeader": ["typ"]},
    "L16-alg-none": {"alg": "none"},
    "L16-hs256-with-public-key": {"key": "hs-public"},
    "L16-foreign-key": {"key": "foreign"},
    "L16-flipped-signature": {"flip": True},
    "L16-kid-unknown": {"header": {"kid": "nobody"}, "key": "foreign"},
    "L16-crit": {"header": {"crit": ["b64"], "b64": True}},
    "L16-iss-other": {"set": {"iss": "https://evil.example"}},
    "L16-iss-missing": {"drop": ["iss"]},
    "L16-aud-other": {"set": {"aud": "somebody-else"}},
    "L16-aud-missing": {"drop": ["aud"]},
    "L16-aud-object": {"set": {"aud": {"CLIENT": True}}},
    "L16-aud-empty": {"set": {"aud": []}},
    "L16-iat-missing": {"drop": ["iat"]},
    "L16-iat-old": {"set": {"iat": int(time.time()) - 400}},
    "L16-iat-future": {"set": {"iat": int(time.time()) + 3600}},
    "L16-iat-text": {"set": {"iat": "now"}},
    "L16-iat-1e300": {"set": {"iat": 1e300}},
    "L16-exp-missing": {"drop": ["exp"]},
    "L16-exp-past": {"set": {"exp": int(time.time()) - 40}},
    "L16-exp-bool": {"set": {"exp": True}},
    "L16-jti-missing": {"drop": ["jti"]},
    "L16-jti-empty": {"set": {"jti": ""}},
    "L16-jti-number": {"set": {"jti": 7}},
    "L16-jti-too-long": {"set": {"jti": "j" * 256}},
    "L16-jti-half-a-character": {"set": {"jti": "\ud800"}},
    "L16-events-missing": {"drop": ["events"]},
    "L16-events-null": {"set": {"events": None}},
    "L16-events-text": {"set": {"events": EVENT}},
    "L16-events-list": {"set": {"events": [EVENT]}},
    "L16-events-empty": {"set": {"events": {}}},
    "L16-events-other": {"set": {"events": {EVENT + "/": {}}}},
    "L16-events-http-case": {"set": {"events": {EVENT.upper(): {}}}},
    "L16-event-not-an-object": {"set": {"events": {EVENT: True}}},
    "L16-nonce": {"set": {"nonce": "n"}},
    "L16-nonce-null": {"set": {"nonce": None}},
    "L16-neither-sub-nor-sid": {"drop": ["sub", "sid"]},
    "L16-sub-number": {"set": {"sub": 7}},
    "L16-sub-empty": {"set": {"sub": ""}},
    "L16-sid-list": {"set": {"sid": ["x"]}},
    "L16-sid-half-a-character": {"set": {"sid": "\ud800"}},
    "T6-too-large": {"set": {"padding": "x" * 50_000}},
}


@pytest.fixture(scope="module")
def logged_in(
    op_process: RealOp, client: OpClient, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LogoutWorld, Browser, str]:
    """One session for the whole table: nothing in it may end it."""
    shared = LogoutWorld(tmp_path_factory.mktemp("table"), op_process, client)
    browser, sid = log_in(shared, shared.build())
    return shared, browser, sid


@pytest.mark.parametrize("fault", FAULTS)
def test_a_logout_token_with_one_fault_ends_nothing(
    logged_in: tuple[LogoutWorld, Browser, str], fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    world, browser, sid = logged_in
    answer = send(browser.app, mint(world, sid=sid, fault=FAULTS[fault]))
    assert_refused(answer)
    document = answer.get_json(force=True)
    assert (document["code"], document["error"]) == ("bad_request", "invalid_request")
    assert document["detail"] == "The logout token is not accepted.", "it tells a stranger what is wrong with it"
    [line] = read_audit(capfd, "logout.refused")
    assert line["reason"]
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        pytest.param({"json": {"logout_token": "TOKEN"}}, 400, "bad_request", id="json"),
        pytest.param({"data": "TOKEN", "content_type": "application/jwt"}, 400, "bad_request", id="bare"),
        pytest.param({"data": "logout_token=TOKEN", "content_type": "text/plain"}, 400, "bad_request", id="text"),
        pytest.param(
            {"data": {"logout_token": "TOKEN"}, "content_type": "multipart/form-data"},
            400,
            "bad_request",
            id="multipart",
        ),
        pytest.param({"data": {}, "query_string": {"logout_token": "TOKEN"}}, 400, "bad_request", id="query"),
        pytest.param({"data": {"logout_token": ["TOKEN", "TOKEN"]}}, 400, "bad_request", id="twice"),
        pytest.param({"data": {"logout_tokens": "TOKEN"}}, 400, "bad_request", id="other-name"),
        pytest.param({"data": {"logout_token": ""}}, 400, "bad_request", id="empty"),
        pytest.param({"data": {"logout_token": "a.b.c"}}, 400, "bad_request", id="no-jwt"),
        pytest.param({"data": {"logout_token": "a.b.c.d.e"}}, 400, "bad_request", id="T6-encrypted"),
        pytest.param({"data": {"logout_token": "TOKEN", "pad": "x" * 80_000}}, 413, "body_too_large", id="too-large"),
    ],
)
def test_a_call_of_another_shape_ends_nothing(
    logged_in: tuple[LogoutWorld, Browser, str], options: dict[str, Any], status: int, code: str
) -> None:
    world, browser, sid = logged_in
    token = mint(world, sid=sid)
    filled = json.loads(json.dumps(options).replace("TOKEN", token))
    filled = {name: value for name, value in filled.items() if name != "data"} | (
        {"data": filled["data"]} if "data" in filled else {"data": None}
    )
    assert_refused(send(browser.app, token, **filled), status, code)
    assert browser.is_logged_in()


def test_an_address_that_sent_too_many_bad_tokens_is_told_to_wait_and_its_good_ones_count(
    world: LogoutWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    for _ in range(MOST_REFUSALS):
        assert send(app, "a.b.c").status_code == 400
    capfd.readouterr()
    answer = send(app, "a.b.c")
    assert_refused(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines if line.get("log") == "audit"]
    assert "logout.refused" not in events
    assert browser.is_logged_in()
    assert_accepted(send(app, mint(world, sid=sid)))
    assert not browser.is_logged_in()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_only_a_post_is_answered(logged_in: tuple[LogoutWorld, Browser, str], method: str) -> None:
    _, browser, _ = logged_in
    answer = browser.call(method, PATH)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_the_provider_may_call_under_an_internal_name(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    answer = app.test_client().post(
        PATH, base_url="http://bff.internal:8080", data={"logout_token": mint(world, sid=sid)}
    )
    assert_accepted(answer)
    assert not browser.is_logged_in()


def test_what_is_in_the_form_beside_the_token_is_ignored(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    assert_accepted(send(app, "", data={"logout_token": mint(world, sid=sid), "x": ["1", "2"]}))
    assert not browser.is_logged_in()


@pytest.mark.parametrize(
    "unusual",
    [
        {"header": {"typ": "application/logout+jwt"}},
        {"header": {"typ": "Logout+JWT"}},
        {"set": {"aud": ["CLIENT", "somebody-else"]}},
        {"set": {"events": {EVENT: {}, "urn:another": {}}}},
        {"set": {"unknown": [1]}},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": "ES256", "dropHeader": ["kid"]},
    ],
    ids=["typ-long", "typ-case", "aud-several", "events-several", "claim-unknown", "RS256", "EdDSA", "no-kid"],
)
def test_a_logout_token_that_is_only_unusual_is_good(world: LogoutWorld, unusual: dict[str, Any]) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    assert_accepted(send(app, mint(world, sid=sid, fault=unusual)))
    assert not browser.is_logged_in()


def test_an_id_token_is_no_logout_token_even_where_typ_may_be_missing(world: LogoutWorld) -> None:
    app = world.build(oidc={"allow_untyped_logout_token": True})
    browser, _ = log_in(world, app)
    for id_token in world.op.secrets("id_token"):
        assert_refused(send(app, id_token))
    assert browser.is_logged_in()


def test_a_missing_typ_is_accepted_where_the_settings_say_so_and_another_typ_is_not(world: LogoutWorld) -> None:
    app = world.build(oidc={"allow_untyped_logout_token": True})
    browser, sid = log_in(world, app)
    assert_refused(send(app, mint(world, sid=sid, fault={"header": {"typ": "JWT"}})))
    assert browser.is_logged_in()
    assert_accepted(send(app, mint(world, sid=sid, fault={"dropHeader": ["typ"]})))
    assert not browser.is_logged_in()


# Once


def test_l16_a_logout_token_is_good_once(world: LogoutWorld) -> None:
    app = world.build()
    log_in(world, app)
    token = mint(world)
    assert_accepted(send(app, token))
    again, _ = log_in(world, app)
    assert_refused(send(app, token))
    assert_refused(send(world.build(), token))
    assert again.is_logged_in()


def test_l16_of_two_of_the_same_at_once_one_is_accepted(world: LogoutWorld) -> None:
    app = world.build()
    for _ in range(5):
        token = mint(world)
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda each: send(app, each).status_code, [token] * 4))
        assert sorted(answers) == [200, 400, 400, 400]


# While others are away


def test_a_store_that_is_away_is_503_and_the_same_token_is_good_later(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    token = mint(world, sid=sid)
    state = world.directory / "state"
    state.rename(state.with_name("away"))
    state.write_text("not a directory")
    assert_refused(send(app, token), 503, "store_unavailable")
    state.unlink()
    state.with_name("away").rename(state)
    assert_accepted(send(app, token))
    assert not browser.is_logged_in()


def test_without_the_providers_keys_it_is_503_and_the_same_token_is_good_later(world: LogoutWorld) -> None:
    browser, sid = log_in(world, world.build())
    token = mint(world, sid=sid)
    world.op.fail("/jwks", status=503)
    assert_refused(send(world.build(), token), 503, "idp_unavailable")
    world.op.clear_faults()
    assert_accepted(send(browser.app, token))
    assert not browser.is_logged_in()


def test_invented_key_ids_neither_flood_the_provider_nor_keep_a_login_from_new_keys(world: LogoutWorld) -> None:
    app = world.build()
    browser, _ = log_in(world, app)
    for _ in range(20):
        assert_refused(send(app, mint(world, fault={"header": {"kid": "nobody"}, "key": "foreign"})))
    asked = [event for event in world.op.events("request") if event["path"] == "/jwks"]
    assert len(asked) <= 2 + 4
    world.op.mutate(jwks="rotate")
    browser.log_in()
    assert browser.is_logged_in()


def test_what_is_no_logout_token_costs_the_provider_nothing(world: LogoutWorld) -> None:
    app = world.build()
    for fault in ({"dropHeader": ["typ"]}, {"header": {"typ": "JWT"}}, {"alg": "none"}):
        assert_refused(send(app, mint(world, fault=fault)))
    asked = [event["path"] for event in world.op.events("request")]
    assert "/jwks" not in asked
    assert "/.well-known/openid-configuration" not in asked
