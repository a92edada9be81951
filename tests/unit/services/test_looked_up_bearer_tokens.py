"""Bearer callers whose issuer is asked: what it is told, how long its answer holds, and what an outage means."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from typing import Any
from urllib.parse import parse_qsl

import pytest

from app.core.errors import IdpUnavailableError, TokenInvalidError
from app.services import access_token_sources
from tests.support.fake_idp import ISSUER as LOGIN_ISSUER
from tests.unit.services.bearer_world import ENTRIES, LEEWAY_SECONDS, LOOKED_UP, PARTNERS, SECRET, Answer, World, world

__all__ = ["world"]


def test_a_token_that_is_looked_up_tells_who_calls(world: World) -> None:
    world.say_active(groups="a b", iss=LOOKED_UP, token_type="Bearer")
    identity = world.authenticate("opaque-token").identity
    assert identity.original_user == "auth:account:looked-up:bob"
    assert identity.claims == {"roles": ["a", "b"], "permissions": []}
    [question] = world.questions
    assert isinstance(question.body, bytes)
    assert dict(parse_qsl(question.body.decode())) == {"token": "opaque-token", "token_type_hint": "access_token"}
    credentials = b64decode(question.headers["Authorization"].removeprefix("Basic ")).decode()
    assert credentials == f"bff+at+lookup:{SECRET}"


def test_without_a_client_of_its_own_an_entry_uses_the_one_of_the_login(world: World) -> None:
    entry = {**ENTRIES[1], "issuer": LOGIN_ISSUER, "introspection_url": f"{LOGIN_ISSUER}/introspect"}
    world.build([{**entry, "client_id": "", "client_secret": ""}])
    world.say_active()
    world.authenticate("opaque-token")
    credentials = b64decode(world.questions[0].headers["Authorization"].removeprefix("Basic ")).decode()
    assert credentials == f"bff:{SECRET}"


def test_an_answer_holds_until_the_token_expires(world: World) -> None:
    world.say_active()
    world.authenticate("opaque-token")
    world.now += 299
    world.authenticate("opaque-token")
    assert len(world.questions) == 1
    world.now += 2
    world.answer = (200, {}, json.dumps({"active": False}))
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
    assert len(world.questions) == 2


def test_a_caller_tells_when_its_token_is_over_if_its_issuer_does(world: World) -> None:
    world.say_active()
    assert world.authenticate("telling-token").ends_at == world.now + 300 + LEEWAY_SECONDS
    world.say_active(exp=None)
    assert world.authenticate("silent-token").ends_at is None


def test_an_answer_without_exp_holds_for_a_minute(world: World) -> None:
    world.say_active(exp=None)
    world.authenticate("opaque-token")
    world.now += access_token_sources.UNKNOWN_LIFETIME_SECONDS
    world.authenticate("opaque-token")
    assert len(world.questions) == 2


def test_a_refusal_is_remembered_for_a_short_time(world: World) -> None:
    world.answer = (200, {}, json.dumps({"active": False}))
    for _ in range(3):
        with pytest.raises(TokenInvalidError):
            world.authenticate("opaque-token")
    assert len(world.questions) == 1
    world.now += access_token_sources.REFUSED_SECONDS
    world.say_active()
    world.authenticate("opaque-token")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"active": False}, id="inactive"),
        pytest.param({"aud": "https://other.example.com"}, id="T1-aud"),
        pytest.param({"aud": None}, id="aud-missing"),
        pytest.param({"aud": {"a": 1}}, id="T7-aud-object"),
        pytest.param({"iss": PARTNERS}, id="T1-iss"),
        pytest.param({"exp": 1e300}, id="T7-exp-huge"),
        pytest.param({"exp": "x"}, id="T7-exp-text"),
        pytest.param({"exp": 1}, id="exp-past"),
        pytest.param({"sub": None}, id="sub-missing"),
        pytest.param({"cnf": {"jkt": "x"}}, id="bound-to-a-key"),
        pytest.param({"token_type": "DPoP"}, id="dpop"),
    ],
)
def test_an_answer_about_a_token_that_is_not_for_us_refuses_it(world: World, members: dict[str, Any]) -> None:
    world.say_active(**members)
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, {}, ""), id="500"),
        pytest.param((401, {}, '{"error":"invalid_client"}'), id="our-credentials-refused"),
        pytest.param((302, {"Location": "https://evil.example"}, ""), id="redirect"),
        pytest.param((200, {}, "not json"), id="not-json"),
        pytest.param((200, {}, "[]"), id="list"),
        pytest.param((200, {}, "{}"), id="active-missing"),
        pytest.param((200, {}, '{"active": "true"}'), id="active-text"),
        pytest.param((200, {}, '{"active": 1}'), id="active-number"),
        pytest.param((200, {}, '{"active": true, "x": "' + "y" * 70_000 + '"}'), id="too-large"),
    ],
)
def test_an_answer_that_answers_nothing_is_no_verdict(world: World, answer: Answer) -> None:
    world.answer = answer
    with pytest.raises(IdpUnavailableError):
        world.authenticate("opaque-token")
    world.say_active()
    world.authenticate("opaque-token")


def test_many_callers_with_one_token_ask_one_question(world: World) -> None:
    world.say_active()
    world.may_answer.clear()
    names: list[str] = []
    callers = [
        threading.Thread(target=lambda: names.append(world.authenticate("opaque-token").identity.user_id))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    world.may_answer.set()
    for caller in callers:
        caller.join(10)
    assert names == ["bob"] * 8
    assert len(world.questions) == 1


def test_with_several_issuers_to_ask_a_nameless_token_is_shown_to_none(world: World) -> None:
    second = {**ENTRIES[1], "name": "second", "issuer": "https://second.example.com"}
    world.build([ENTRIES[1], second])
    world.say_active()
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
    assert world.questions == []
    world.authenticate(world.sign(iss=LOOKED_UP))
    assert len(world.questions) == 1


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.bearer_authenticator.MAX_REMEMBERED", 2)
    world.build(ENTRIES)
    world.say_active()
    for token in ("one", "two", "one", "three"):
        world.authenticate(token)
    world.authenticate("one")
    assert len(world.questions) == 3
    world.authenticate("two")
    assert len(world.questions) == 4


def test_a_clock_that_was_set_back_makes_no_token_good_for_longer(world: World) -> None:
    world.say_active()
    world.authenticate("opaque-token")
    world.now -= 3600
    world.answer = (200, {}, json.dumps({"active": False}))
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
