"""OIDC back-channel logout: one table with one thing wrong at a time (row L17)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from app.services.logout_refusals import MOST_REFUSALS
from tests.integration.backchannel_world import (
    EVENT,
    PATH,
    LogoutWorld,
    assert_accepted,
    assert_refused,
    client,
    log_in,
    mint,
    read_audit,
    send,
    world,
)
from tests.integration.login_world import Browser
from tests.support.real_op import OpClient, RealOp

__all__ = ["client", "world"]

pytestmark = pytest.mark.live


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
