"""What the decision point is sent, which of its answers is a decision, and what happens without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.core.errors import PdpUnavailableError
from app.services.circuit_breaker import CircuitBreaker
from app.services.control_http import ControlHttp
from app.services.oidc_client_auth import ClientSecretBasic
from app.services.pdp_answers import Decision
from app.services.pdp_client import NO_BATCHES_SECONDS, PdpClient
from app.services.pdp_credentials import ApiKey, ClientToken, NoCredentials, PdpCredentials
from app.services.pdp_endpoints import GOOD_FOR_SECONDS, TRY_AGAIN_SECONDS, PdpEndpointsFinder
from app.settings.schema.pdp_file import PdpEndpoints, PdpRetry
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.raw_backend import find_closed_port

QUESTION: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice", "properties": {"roles": ["editor"]}},
    "action": {"name": "read"},
    "resource": {"type": "form", "id": "42"},
}
SPACED = json.dumps(QUESTION, indent=1).encode()
"""An unusual spelling, so that it shows whether the very bytes are sent."""


class World:
    """A decision point and one worker's client, on a clock that stands still."""

    def __init__(self, pdp: AuthzenPdp) -> None:
        self.pdp = pdp
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def build_client(
        self,
        *,
        url: str = "",
        credentials: PdpCredentials | None = None,
        endpoints: PdpEndpoints | None = None,
        failures: int = 0,
        **retry: Any,
    ) -> PdpClient:
        http = ControlHttp(timeout_seconds=0.5)
        finder = PdpEndpointsFinder(
            url or self.pdp.url, endpoints or PdpEndpoints(), http=http, monotonic=self.monotonic
        )
        return PdpClient(
            http=http,
            endpoints=finder,
            credentials=credentials or NoCredentials(),
            retry=PdpRetry(**retry),
            breaker=CircuitBreaker(failures, 30, self.monotonic),
            pause=self.pause,
            monotonic=self.monotonic,
        )

    def count_evaluations(self) -> int:
        return len(self.pdp.evaluations())


@pytest.fixture
def world() -> Iterator[World]:
    with AuthzenPdp() as pdp:
        yield World(pdp)


def test_the_very_bytes_that_were_encoded_are_sent_with_the_correlation_id(world: World) -> None:
    assert world.build_client().evaluate(SPACED, "id-7") == Decision(is_allowed=True)
    [request] = world.pdp.evaluations()
    assert (request.path, request.body) == ("/access/v1/evaluation", QUESTION)
    assert request.headers["x-request-id"] == "id-7"
    assert request.headers["content-length"] == str(len(SPACED))
    assert request.headers["content-type"] == "application/json"


def test_a_batch_keeps_the_order_of_the_questions(world: World) -> None:
    world.pdp.decide = lambda question: question["resource"]["id"] != "2"
    questions = [json.dumps({**QUESTION, "resource": {"type": "form", "id": str(n)}}).encode() for n in range(4)]
    decisions = world.build_client().evaluate_all(questions, "id")
    assert [decision.is_allowed for decision in decisions] == [True, True, False, True]
    assert len(world.pdp.evaluations()) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_without_a_batch_endpoint_it_is_asked_one_by_one_and_the_endpoint_looked_for_later(
    world: World, status: int
) -> None:
    world.pdp.has_batches, world.pdp.missing_status = False, status
    world.pdp.decide = lambda question: question["resource"]["id"] != "1"
    questions = [json.dumps({**QUESTION, "resource": {"type": "form", "id": str(n)}}).encode() for n in range(3)]
    client = world.build_client(failures=1)
    for _ in range(2):
        assert [each.is_allowed for each in client.evaluate_all(questions, "id")] == [True, False, True]
    assert [request.path[-1] for request in world.pdp.evaluations()] == ["s", *"nnnnnn"]
    world.now += NO_BATCHES_SECONDS
    world.pdp.has_batches = True
    client.evaluate_all(questions, "id")
    assert world.pdp.evaluations()[-1].path.endswith("evaluations")


def test_questions_one_by_one_have_a_limit_together(world: World) -> None:
    world.pdp.has_batches = False

    def decide_slowly(_: Any) -> bool:
        world.now += 2
        return True

    world.pdp.decide = decide_slowly
    with pytest.raises(PdpUnavailableError):
        world.build_client(max_timeout=5).evaluate_all([SPACED] * 10, "id")
    assert len(world.pdp.questions) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_batch_that_is_refused_is_not_asked_one_by_one(world: World, status: int) -> None:
    world.pdp.answer = (status, "text/plain", b"")
    with pytest.raises(PdpUnavailableError):
        world.build_client().evaluate_all([SPACED, SPACED], "id")
    assert world.count_evaluations() == 1


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param({"reason_user": "Only owners may."}, Decision(False, "Only owners may."), id="text"),
        pytest.param({"reason_user": {"de": "Nein.", "en": "No."}}, Decision(False, "No."), id="by-language"),
        pytest.param({"reason_user": {"403": "No."}}, Decision(False, "No."), id="by-status"),
        pytest.param({"reason_user": {"en": 7}}, Decision(False), id="no-text"),
        pytest.param({"reason_user": "a\r\nb" + "x" * 500}, Decision(False, "ab" + "x" * 298), id="odd-text"),
        pytest.param({"reason_admin": {"en": "policy 7"}, "id": "0"}, Decision(False), id="D1-nothing-internal"),
        pytest.param({"acr_values": "gold silver"}, Decision(False, acr_values=("gold", "silver")), id="step-up"),
        pytest.param({"acr": ["gold", 'si"lver', "br onze", 1]}, Decision(False, acr_values=("gold",)), id="odd-acr"),
        pytest.param({"error": {"status": 500}}, Decision(False, is_lasting=False), id="not-evaluated"),
    ],
)
def test_of_a_refusals_context_only_what_the_user_may_know_is_taken(
    world: World, context: dict[str, Any], expected: Decision
) -> None:
    world.pdp.decide, world.pdp.explain = lambda _: False, lambda _: context
    assert world.build_client().evaluate(SPACED, "id") == expected


NO_DECISIONS = {
    "D1-text": b'{"decision": "true"}',
    "D1-number": b'{"decision": 1}',
    "D1-null": b'{"decision": null}',
    "D1-missing": b"{}",
    "D1-array": b'[{"decision": true}]',
    "D1-bare": b"true",
    "D1-html": b"<html>yes</html>",
    "D1-empty": b"",
    "D1-twice": b'{"decision": false, "decision": true}',
    "D1-two-texts": b'{"decision": true}{"decision": false}',
    "D1-context-is-text": b'{"decision": true, "context": "x"}',
    "D1-utf16": '{"decision": true}'.encode("utf-16"),
    "D1-batch-instead": b'{"evaluations": [{"decision": true}]}',
}


@pytest.mark.parametrize("body", NO_DECISIONS.values(), ids=NO_DECISIONS)
def test_an_answer_that_is_not_exactly_a_decision_is_none(world: World, body: bytes) -> None:
    world.pdp.answer = (200, "application/json", body)
    with pytest.raises(PdpUnavailableError):
        world.build_client().evaluate(SPACED, "id")


NO_BATCHES = {
    "fewer": b'{"evaluations": [{"decision": true}]}',
    "more": b'{"evaluations": [{"decision": true}, {"decision": true}, {"decision": true}]}',
    "one-malformed": b'{"evaluations": [{"decision": true}, {"decision": "true"}]}',
    "one-is-no-object": b'{"evaluations": [{"decision": true}, true]}',
    "no-list": b'{"evaluations": {"decision": true}}',
    "single": b'{"decision": true}',
}


@pytest.mark.parametrize("body", NO_BATCHES.values(), ids=NO_BATCHES)
def test_a_batch_without_a_decision_for_each_question_is_no_answer(world: World, body: bytes) -> None:
    world.pdp.answer = (200, "application/json", body)
    with pytest.raises(PdpUnavailableError):
        world.build_client().evaluate_all([SPACED, SPACED], "id")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 401, 403, 404, 500, 501])
def test_d1_another_status_is_no_decision_and_is_not_asked_again(world: World, status: int) -> None:
    world.pdp.answer = (status, "application/json", b'{"decision": true}' if status != 204 else b"")
    with pytest.raises(PdpUnavailableError):
        world.build_client(max_retries=3).evaluate(SPACED, "id")
    assert world.count_evaluations() == 1


def test_what_may_pass_is_asked_again_with_growing_pauses_and_a_limit(world: World) -> None:
    world.pdp.answer = (503, "text/plain", b"later")
    with pytest.raises(PdpUnavailableError):
        world.build_client(max_retries=2, backoff_factor=0.1).evaluate(SPACED, "id")
    assert (world.count_evaluations(), world.pauses) == (3, [0.1, 0.2])


def test_all_attempts_together_have_a_limit(world: World) -> None:
    world.pdp.answer = (503, "text/plain", b"later")
    with pytest.raises(PdpUnavailableError):
        world.build_client(max_retries=10, backoff_factor=1, max_timeout=4).evaluate(SPACED, "id")
    assert world.pauses == [1, 2]


def test_d1_a_decision_point_that_is_down_or_hangs_is_no_decision(world: World) -> None:
    down = world.build_client(url=f"http://127.0.0.1:{find_closed_port()}", max_retries=0)
    with pytest.raises(PdpUnavailableError):
        down.evaluate(SPACED, "id")
    world.pdp.may_answer.clear()
    with pytest.raises(PdpUnavailableError):
        world.build_client(max_retries=0).evaluate(SPACED, "id")


def test_one_that_fails_again_and_again_is_left_alone_and_tried_later(world: World) -> None:
    world.pdp.answer = (503, "text/plain", b"later")
    client = world.build_client(max_retries=0, failures=2)
    for _ in range(5):
        with pytest.raises(PdpUnavailableError):
            client.evaluate(SPACED, "id")
    assert world.count_evaluations() == 2
    world.now += 31
    world.pdp.answer = None
    assert client.evaluate(SPACED, "id").is_allowed


def test_questions_that_it_does_not_like_do_not_shut_out_everybody_else(world: World) -> None:
    world.pdp.answer = (400, "text/plain", b"what?")
    client = world.build_client(max_retries=0, failures=2)
    for _ in range(5):
        with pytest.raises(PdpUnavailableError):
            client.evaluate(SPACED, "id")
    world.pdp.answer = None
    assert client.evaluate(SPACED, "id").is_allowed


# Where it is asked


def test_metadata_of_another_decision_point_refuse_every_question_until_they_are_right(world: World) -> None:
    world.pdp.identifier = "https://pdp.example.com"
    client = world.build_client()
    for _ in range(2):
        with pytest.raises(PdpUnavailableError):
            client.evaluate(SPACED, "id")
    assert world.count_evaluations() == 0
    world.pdp.identifier = ""
    world.now += TRY_AGAIN_SECONDS
    assert client.evaluate(SPACED, "id").is_allowed


def test_without_metadata_the_configured_paths_are_used(world: World) -> None:
    world.pdp.has_metadata = False
    assert world.build_client().evaluate(SPACED, "id").is_allowed


def test_metadata_are_looked_at_again_only_now_and_then(world: World) -> None:
    client = world.build_client()
    for _ in range(3):
        client.evaluate(SPACED, "id")
    assert len(world.pdp.requests) == 4
    world.now += GOOD_FOR_SECONDS
    client.evaluate(SPACED, "id")
    assert len(world.pdp.requests) == 6


@pytest.mark.parametrize("url", ["https://elsewhere.example/ask", "http://127.0.0.1:1/ask"])
def test_metadata_cannot_send_questions_to_another_origin(world: World, url: str) -> None:
    finder = PdpEndpointsFinder(
        world.pdp.url, PdpEndpoints(), http=ControlHttp(timeout_seconds=1), monotonic=world.monotonic
    )
    world.pdp._build_metadata = lambda: {  # type: ignore[method-assign]
        "policy_decision_point": world.pdp.url,
        "access_evaluation_endpoint": url,
        "access_evaluations_endpoint": f"{world.pdp.url}/many",
    }
    found = finder.find()
    assert found.evaluation == f"{world.pdp.url}/access/v1/evaluation"
    assert found.batch == f"{world.pdp.url}/many"


def test_a_path_that_the_deployer_chose_stays(world: World) -> None:
    finder = PdpEndpointsFinder(
        world.pdp.url,
        PdpEndpoints(evaluation="/own"),
        http=ControlHttp(timeout_seconds=1),
        monotonic=world.monotonic,
    )
    assert finder.find().evaluation == f"{world.pdp.url}/own"


# Who asks


def test_an_api_key_is_sent_and_never_shown(world: World) -> None:
    key = ApiKey("a-key-that-nobody-sees")
    world.build_client(credentials=key).evaluate(SPACED, "id")
    assert world.pdp.evaluations()[0].headers["x-api-key"] == "a-key-that-nobody-sees"
    assert "nobody-sees" not in repr(key)


class TokenEndpoint(AuthzenPdp):
    """Answers everything as a token endpoint does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.issued = 0

    def _answer(self, path: str, document: Any) -> tuple[int, str, bytes]:
        self.issued += 1
        answer = {"access_token": f"pdp-token-{self.issued}", "token_type": "Bearer", "expires_in": 300}
        return 200, "application/json", json.dumps(answer).encode()

    def _handle(self, handler: Any, body: bytes) -> None:
        super()._handle(handler, b"")


def test_a_token_of_our_own_is_kept_until_shortly_before_it_expires_and_renewed_when_refused(world: World) -> None:
    with TokenEndpoint() as endpoint:
        client = ClientSecretBasic("bff", "a-secret-of-some-length")
        http = ControlHttp(timeout_seconds=1)
        credentials = ClientToken(http, f"{endpoint.url}/token", client, world.monotonic)
        asking = world.build_client(credentials=credentials)
        for _ in range(3):
            asking.evaluate(SPACED, "id")
        world.now += 295
        asking.evaluate(SPACED, "id")
        sent = [request.headers["authorization"] for request in world.pdp.evaluations()]
        assert sent == ["Bearer pdp-token-1"] * 3 + ["Bearer pdp-token-2"]
        world.pdp.answer = (401, "text/plain", b"who?")
        with pytest.raises(PdpUnavailableError):
            asking.evaluate(SPACED, "id")
        assert world.pdp.evaluations()[-1].headers["authorization"] == "Bearer pdp-token-3"
        assert "pdp-token" not in repr(credentials)


def test_without_a_token_of_our_own_there_is_no_decision(world: World) -> None:
    client = ClientSecretBasic("bff", "a-secret-of-some-length")
    http = ControlHttp(timeout_seconds=1)
    token_url = f"http://127.0.0.1:{find_closed_port()}/token"
    credentials = ClientToken(http, token_url, client, world.monotonic)
    with pytest.raises(PdpUnavailableError):
        world.build_client(credentials=credentials, max_retries=0).evaluate(SPACED, "id")
    assert world.count_evaluations() == 0
