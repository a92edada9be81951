"""The nonce dance with the identity provider, one thing wrong at a time (RFC 9449 §8 and §9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwt

from app.services.control_http import ControlAnswer, ControlUnreachableError
from app.services.dpop_exchange import DpopExchange
from app.services.dpop_key import BoundToken, generate_dpop_key, hash_access_token

ENDPOINT = "https://idp.example.com/token"
USERINFO = "https://idp.example.com/me"
KEY = generate_dpop_key()
TOKEN = BoundToken("at-1", KEY)
OK = ControlAnswer(200, {}, b"{}")


def build_challenge(nonce: str | None = "n-1", *, status: int = 400, error: Any = "use_dpop_nonce") -> ControlAnswer:
    headers = {} if nonce is None else {"dpop-nonce": nonce}
    return ControlAnswer(status, headers, json.dumps({"error": error}).encode())


def build_resource_challenge(
    nonce: str | None = "n-1", *, status: int = 401, error: str = "use_dpop_nonce"
) -> ControlAnswer:
    headers = {"www-authenticate": f'DPoP error="{error}"'} | ({} if nonce is None else {"dpop-nonce": nonce})
    return ControlAnswer(status, headers, b"")


class World:
    """An exchange whose provider answers as it is told, the last answer again and again."""

    def __init__(self, *answers: ControlAnswer) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, str]] = []
        self.time_given: list[float] = []
        self.monotonic = 100.0
        self.exchange = DpopExchange(
            timeout_seconds=10, clock=lambda: 1_700_000_000.0, monotonic=lambda: self.monotonic
        )

    def send(self, headers: dict[str, str], total_seconds: float) -> ControlAnswer:
        self.sent.append(headers)
        self.time_given.append(total_seconds)
        self.monotonic += 4
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def post(self, endpoint: str = ENDPOINT) -> ControlAnswer:
        return self.exchange.post(endpoint, KEY, self.send)

    def get(self, url: str = USERINFO) -> ControlAnswer:
        return self.exchange.get_resource(url, TOKEN, self.send)

    def claims(self) -> list[dict[str, Any]]:
        return [jwt.decode(lines["DPoP"], KEY.private_key, algorithms=["ES256"]).claims for lines in self.sent]

    def nonces(self) -> list[str | None]:
        return [claims.get("nonce") for claims in self.claims()]


def test_a_challenge_is_answered_once_with_the_nonce_and_a_new_proof() -> None:
    world = World(build_challenge(), OK)
    assert world.post().status == 200
    assert world.nonces() == [None, "n-1"]
    first, second = world.claims()
    assert first["jti"] != second["jti"]
    assert (second["htm"], second["htu"]) == ("POST", ENDPOINT)
    assert "ath" not in second


def test_a_challenge_at_a_resource_is_answered_once_with_the_token_and_its_hash() -> None:
    world = World(build_resource_challenge(), OK)
    assert world.get().status == 200
    assert world.nonces() == [None, "n-1"]
    assert {lines["Authorization"] for lines in world.sent} == {"DPoP at-1"}
    assert {claims["ath"] for claims in world.claims()} == {hash_access_token("at-1")}


def test_a_nonce_that_is_known_goes_with_the_first_attempt() -> None:
    world = World(build_challenge(), OK)
    world.post()
    assert world.post().status == 200
    assert world.nonces() == [None, "n-1", "n-1"]


def test_a_nonce_that_comes_with_a_good_answer_serves_the_next_exchange() -> None:
    world = World(ControlAnswer(200, {"dpop-nonce": "n-9"}, b"{}"), OK)
    world.post()
    world.post()
    assert world.nonces() == [None, "n-9"]


def test_the_newest_nonce_is_used_also_when_it_came_with_the_second_answer() -> None:
    world = World(build_challenge("n-1"), build_challenge("n-2"), OK)
    assert world.post().status == 400
    assert world.post().status == 200
    assert world.nonces() == [None, "n-1", "n-2"]


def test_nonces_of_the_token_endpoint_and_of_resources_are_kept_apart() -> None:
    """RFC 9449 §9: the same origin may be both."""
    world = World(build_challenge(), OK)
    world.post()
    world.get()
    assert world.nonces()[-1] is None


def test_both_attempts_share_one_time() -> None:
    world = World(build_challenge(), OK)
    world.post()
    assert world.time_given == [10, 6]


def test_endless_challenges_end_after_the_second() -> None:
    world = World(build_challenge())
    assert world.post().status == 400
    assert len(world.sent) == 2


def test_endless_challenges_of_a_resource_end_after_the_second() -> None:
    world = World(build_resource_challenge())
    assert world.get().status == 401
    assert len(world.sent) == 2


NO_CHALLENGES = [
    pytest.param(build_challenge(None), id="no-nonce"),
    pytest.param(build_challenge(""), id="empty-nonce"),
    pytest.param(build_challenge("n 1"), id="nonce-with-space"),
    pytest.param(build_challenge('n"1'), id="nonce-with-quote"),
    pytest.param(build_challenge("n\x001"), id="nonce-with-nul"),
    pytest.param(build_challenge("a, b"), id="two-nonces"),
    pytest.param(build_challenge("n" * 10_240), id="10-kib-nonce"),
    pytest.param(build_challenge(error="invalid_dpop_proof"), id="another-error"),
    pytest.param(build_challenge(error=["use_dpop_nonce"]), id="error-is-a-list"),
    pytest.param(build_challenge(status=403), id="status-403"),
    pytest.param(build_challenge(status=503), id="status-503"),
    pytest.param(build_challenge(status=200), id="status-200"),
    pytest.param(ControlAnswer(400, {"dpop-nonce": "n-1"}, b""), id="empty-body"),
    pytest.param(ControlAnswer(400, {"dpop-nonce": "n-1"}, b"use_dpop_nonce"), id="not-json"),
    pytest.param(ControlAnswer(400, {"dpop-nonce": "n-1"}, b"[" * 100_000), id="deep-json"),
]


@pytest.mark.parametrize("answer", NO_CHALLENGES)
def test_what_is_no_challenge_that_can_be_answered_is_not_asked_again(answer: ControlAnswer) -> None:
    world = World(answer)
    assert world.post() is answer
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(build_resource_challenge(None), id="no-nonce"),
        pytest.param(build_resource_challenge("n 1"), id="nonce-with-space"),
        pytest.param(build_resource_challenge("n" * 10_240), id="10-kib-nonce"),
        pytest.param(build_resource_challenge(error="invalid_token"), id="another-error"),
        pytest.param(build_resource_challenge(status=400), id="status-400"),
        pytest.param(ControlAnswer(401, {"dpop-nonce": "n-1"}, b'{"error":"use_dpop_nonce"}'), id="error-in-the-body"),
    ],
)
def test_what_is_no_challenge_of_a_resource_is_not_asked_again(answer: ControlAnswer) -> None:
    world = World(answer)
    assert world.get() is answer
    assert len(world.sent) == 1


def test_a_provider_that_goes_away_after_its_challenge_is_away() -> None:
    world = World(build_challenge())
    answers = iter([build_challenge()])

    def send(_headers: dict[str, str], _seconds: float) -> ControlAnswer:
        try:
            return next(answers)
        except StopIteration:
            raise ControlUnreachableError("gone") from None

    with pytest.raises(ControlUnreachableError):
        world.exchange.post(ENDPOINT, KEY, send)
