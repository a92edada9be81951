"""Against Cerbos: what the real decision point takes and refuses, and that our questions are decided rightly."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from app.core.errors import PdpUnavailableError
from app.core.permissions import Action, Question, QuestionResource, Subject, encode_question
from app.services.authorizer import Authorizer
from app.services.circuit_breaker import CircuitBreaker
from app.services.control_http import ControlHttp
from app.services.decision_cache import DecisionCache
from app.services.pdp_client import PdpClient
from app.services.pdp_credentials import NoCredentials
from app.services.pdp_endpoints import PdpEndpointsFinder
from app.settings.schema.pdp_file import PdpEndpoints, PdpFile, PdpRetry
from demo.cerbos import POLICIES, find_cerbos
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.processes import wait_until
from tests.support.real_pdp import RealPdp, start_cerbos

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
EDITOR, VIEWER = ["editor", "user"], ["user"]


def ask(user: str, action: str, form: str = "*", *, roles: Sequence[str] = VIEWER, **resource: Any) -> Question:
    return Question(
        subject=Subject(type="user", id=user, properties={"roles": list(roles)}),
        action=Action(name=action),
        resource=QuestionResource(type="form", id=form, properties=resource),
    )


def build_client(url: str) -> PdpClient:
    http = ControlHttp(timeout_seconds=5)
    return PdpClient(
        http=http,
        endpoints=PdpEndpointsFinder(url, PdpEndpoints(), http=http, monotonic=time.monotonic),
        credentials=NoCredentials(),
        retry=PdpRetry(max_retries=0),
        breaker=CircuitBreaker(0, 30, time.monotonic),
        pause=time.sleep,
        monotonic=time.monotonic,
    )


def build_authorizer(url: str, *, cache: DecisionCache | None = None, max_batch: int = 50) -> Authorizer:
    return Authorizer(
        build_client(url),
        cache=cache,
        get_epoch=lambda: "1",
        max_batch=max_batch,
        count=lambda _: None,
        monotonic=time.monotonic,
    )


def decide_all(url: str, questions: Sequence[Question], **more: Any) -> list[bool]:
    decided = build_authorizer(url, **more).decide_all(questions, ("op", "alice"), "id-1")
    return [each.decision.is_allowed for each in decided]


@pytest.fixture(scope="module")
def both(cerbos: RealPdp) -> Iterator[Mapping[str, RealPdp | AuthzenPdp]]:
    """Cerbos with the demo's policies, and the double, which knows as much of them as is asked for here."""
    with AuthzenPdp(decide=lambda question: question["action"]["name"] != "publish") as double:
        yield {"real": cerbos, "double": double}


def post(pdp: RealPdp | AuthzenPdp, path: str, body: Any) -> requests.Response:
    return requests.post(pdp.url + path, json=body, timeout=5)


def test_its_metadata_are_its_own_and_name_the_endpoints(cerbos: RealPdp) -> None:
    finder = PdpEndpointsFinder(
        cerbos.url, PdpEndpoints(), http=ControlHttp(timeout_seconds=5), monotonic=time.monotonic
    )
    assert finder.fetch_metadata() == {
        "access_evaluation_endpoint": cerbos.url + EVALUATION,
        "access_evaluations_endpoint": cerbos.url + EVALUATIONS,
    }
    assert finder.find().evaluation == cerbos.url + EVALUATION


def test_it_names_itself_after_the_host_it_was_called_by(cerbos: RealPdp) -> None:
    """So behind a proxy that changes Host or the scheme its metadata are refused, unless the proxy tells of it."""
    path = cerbos.url + "/.well-known/authzen-configuration"
    renamed = requests.get(path, headers={"Host": "pdp.example.com"}, timeout=5).json()
    assert renamed["policy_decision_point"] == "http://pdp.example.com"
    forwarded = {"X-Forwarded-Host": "pdp.example.com", "X-Forwarded-Proto": "https"}
    assert requests.get(path, headers=forwarded, timeout=5).json()["policy_decision_point"] == "https://pdp.example.com"


@pytest.mark.parametrize(
    ("question", "is_allowed"),
    [
        pytest.param(ask("alice", "delete", "alice-1", roles=EDITOR), True, id="owner"),
        pytest.param(ask("carol", "update", "alice-1", roles=EDITOR), True, id="editor"),
        pytest.param(ask("carol", "delete", "alice-1", roles=EDITOR), False, id="editor-of-another-one's"),
        pytest.param(ask("bob", "read", "alice-1"), True, id="viewer"),
        pytest.param(ask("bob", "update", "alice-1"), False, id="viewer-changes"),
        pytest.param(ask("alice", "read", roles=[]), False, id="no-roles"),
        pytest.param(ask("alice", "publish", "alice-1", roles=EDITOR), False, id="unknown-action"),
    ],
)
def test_one_question_is_decided_by_the_policies(cerbos: RealPdp, question: Question, is_allowed: bool) -> None:
    assert build_client(cerbos.url).evaluate(encode_question(question), "id-1").is_allowed is is_allowed


def test_a_resource_without_a_policy_is_refused(cerbos: RealPdp) -> None:
    question = Question(
        subject=Subject(type="user", id="alice"),
        action=Action(name="read"),
        resource=QuestionResource(type="nothing", id="*"),
    )
    assert not build_client(cerbos.url).evaluate(encode_question(question), "id-1").is_allowed


def test_a_batch_keeps_the_order_and_needs_no_context(cerbos: RealPdp) -> None:
    questions = [
        ask("alice", action, f"{owner}-1", roles=EDITOR)
        for owner in ("alice", "bob")
        for action in ("delete", "read", "publish", "update")
    ]
    assert decide_all(cerbos.url, questions) == [True, True, False, True, False, True, False, True]


def test_a_batch_of_the_largest_size_is_taken_and_one_more_is_refused(cerbos: RealPdp) -> None:
    """Cerbos takes 50 resources a batch unless told otherwise; so does `max_batch` of pdp.yaml."""
    questions = [ask("alice", "read", f"alice-{number}") for number in range(51)]
    assert decide_all(cerbos.url, questions, max_batch=PdpFile().max_batch) == [True] * 51
    with pytest.raises(PdpUnavailableError):
        decide_all(cerbos.url, questions, max_batch=51)


SAME_FORM = """
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: form
  version: default
  rules:
    - actions: [read]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: 'R.attr.kind == "public" && "user" in P.attr.roles'}}
"""


@pytest.fixture(scope="module")
def by_kind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPdp]:
    """A Cerbos whose decision depends on properties of the resource and of the subject."""
    directory = tmp_path_factory.mktemp("by-kind")
    (directory / "policies").mkdir()
    (directory / "policies" / "form.yaml").write_text(SAME_FORM)
    started = start_cerbos(directory, policies=directory / "policies")
    yield started
    started.stop()


QUESTION_PAIRS = {
    "resource": (ask("alice", "read", "1", kind="public"), ask("alice", "read", "1", kind="secret")),
    "subject": (
        ask("alice", "read", "1", kind="public"),
        ask("alice", "read", "1", kind="public", roles=[]),
    ),
}


@pytest.mark.parametrize("name", QUESTION_PAIRS)
def test_it_confuses_questions_of_one_batch_that_differ_in_properties_only(by_kind: RealPdp, name: str) -> None:
    """Why such questions never share a batch. When this fails, Cerbos has been mended."""
    for first, second in (QUESTION_PAIRS[name], QUESTION_PAIRS[name][::-1]):
        body = b'{"evaluations":[' + encode_question(first) + b"," + encode_question(second) + b"]}"
        answer = requests.post(by_kind.url + EVALUATIONS, data=body, timeout=5).json()["evaluations"]
        assert answer[0]["decision"] == answer[1]["decision"]


@pytest.mark.parametrize("name", QUESTION_PAIRS)
def test_we_get_questions_that_differ_in_properties_only_decided_rightly(by_kind: RealPdp, name: str) -> None:
    allowed, refused = QUESTION_PAIRS[name]
    assert decide_all(by_kind.url, [allowed, refused, allowed]) == [True, False, True]
    assert decide_all(by_kind.url, [refused, allowed, refused]) == [False, True, False]


ALICE_DELETES: Mapping[str, Any] = {
    "subject": {"type": "user", "id": "alice"},
    "action": {"name": "delete"},
    "resource": {"type": "form", "id": "alice-1"},
}


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
@pytest.mark.parametrize("kind", ["real", "double"])
def test_a_batch_may_have_defaults_and_a_semantic(
    both: Mapping[str, RealPdp | AuthzenPdp], kind: str, semantic: str, decisions: list[bool]
) -> None:
    evaluations = [{}, {"action": {"name": "publish"}}, {"action": {"name": "update"}}]
    body = {**ALICE_DELETES, "evaluations": evaluations, "options": {"evaluations_semantic": semantic}}
    answer = post(both[kind], EVALUATIONS, body)
    assert [evaluation["decision"] for evaluation in answer.json()["evaluations"]] == decisions


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ALICE_DELETES.items() if key != name}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(EVALUATION, {**ALICE_DELETES, "x": 1}, id="unknown-member"),
        pytest.param(
            EVALUATION, {**ALICE_DELETES, "subject": {"type": "user", "id": "a", "x": 1}}, id="of-the-subject"
        ),
        pytest.param(EVALUATION, {**ALICE_DELETES, "subject": {"type": "user", "id": ""}}, id="empty-id"),
        pytest.param(EVALUATION, without("subject"), id="no-subject"),
        pytest.param(EVALUATION, without("action"), id="no-action"),
        pytest.param(EVALUATION, without("resource"), id="no-resource"),
        pytest.param(EVALUATION, {**ALICE_DELETES, "context": "x"}, id="context-is-text"),
        pytest.param(
            EVALUATION, {**ALICE_DELETES, "resource": {"type": "form", "id": "1", "properties": []}}, id="no-properties"
        ),
        pytest.param(EVALUATION, [ALICE_DELETES], id="array"),
        pytest.param(EVALUATIONS, {"evaluations": {}}, id="no-list"),
        pytest.param(EVALUATIONS, {"evaluations": []}, id="empty-batch-without-a-question"),
        pytest.param(
            EVALUATIONS,
            {"evaluations": [ALICE_DELETES], "options": {"evaluations_semantic": "guess"}},
            id="unknown-semantic",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["real", "double"])
def test_a_question_that_is_not_exactly_of_the_specification_is_refused(
    both: Mapping[str, RealPdp | AuthzenPdp], kind: str, path: str, body: Any
) -> None:
    """By Cerbos, and by the double that stands in for it where faults are tried."""
    assert post(both[kind], path, body).status_code == 400


def test_cerbos_differs_from_the_specification_where_a_batch_is_empty(both: Mapping[str, Any]) -> None:
    """AuthZEN 1.0 §7.1: without evaluations it is a single question. The BFF never sends such a one."""
    for body in (ALICE_DELETES, {**ALICE_DELETES, "evaluations": []}):
        assert post(both["real"], EVALUATIONS, body).status_code == 400
        assert post(both["double"], EVALUATIONS, body).json() == {"decision": True}


def test_what_is_wrong_with_one_of_several_is_said_there_and_is_no_permission(both: Mapping[str, Any]) -> None:
    """AuthZEN 1.0 §7.2.1; Cerbos refuses the whole batch, which is no permission either."""
    body = {"evaluations": [ALICE_DELETES, without("action")]}
    first, second = post(both["double"], EVALUATIONS, body).json()["evaluations"]
    assert (first["decision"], second["decision"], second["context"]["error"]["status"]) == (True, False, 400)
    assert post(both["real"], EVALUATIONS, body).status_code == 400


def test_the_request_id_comes_back_from_the_double_and_not_from_cerbos(both: Mapping[str, Any]) -> None:
    """AuthZEN 1.0 §10.1.3. So the BFF asks for no echo."""
    echoes = {}
    for kind, pdp in both.items():
        headers = {"X-Request-ID": "id-7"}
        answer = requests.post(pdp.url + EVALUATION, json=ALICE_DELETES, headers=headers, timeout=5)
        assert answer.headers["Content-Type"].startswith("application/json")
        echoes[kind] = answer.headers.get("X-Request-ID")
    assert echoes == {"real": None, "double": "id-7"}


def test_a_question_it_refuses_is_no_decision(cerbos: RealPdp) -> None:
    with pytest.raises(PdpUnavailableError) as raised:
        build_client(cerbos.url).evaluate(b'{"subject":{"type":"user","id":""}}', "id-1")
    assert "answers 400" in raised.value.internal_reason


def test_it_does_not_search_actions(cerbos: RealPdp) -> None:
    """So what a user may do is found out by evaluations."""
    assert post(cerbos, "/access/v1/search/action", without("action")).status_code == 404


def test_policies_that_change_decide_at_the_latest_when_what_was_remembered_is_over(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(POLICIES, policies, ignore=shutil.ignore_patterns("*_test.yaml"))
    pdp = start_cerbos(tmp_path, policies=policies)
    question = ask("bob", "read", "alice-1")
    try:
        now = 1000.0
        cache = DecisionCache(ttl_allow_seconds=30, ttl_deny_seconds=5, max_size=10, monotonic=lambda: now)
        authorizer = build_authorizer(pdp.url, cache=cache)

        def is_allowed() -> bool:
            return authorizer.decide(question, ("op", "bob"), "id-1").decision.is_allowed

        assert is_allowed()
        form = yaml.safe_load((policies / "form.yaml").read_text())
        form["resourcePolicy"]["rules"][0]["derivedRoles"] = ["editor"]
        (policies / "form.yaml").write_text(yaml.safe_dump(form))
        wait_until(lambda: decide_all(pdp.url, [question]) == [False], timeout_seconds=20, what="the new policy")
        assert is_allowed(), "remembered, for as long as pdp.yaml says and no longer"
        now += 31
        assert not is_allowed()
    finally:
        pdp.stop()


def test_a_decision_point_that_is_gone_is_no_decision_and_one_that_is_back_decides(tmp_path: Path) -> None:
    pdp = start_cerbos(tmp_path)
    client = build_client(pdp.url)
    question = encode_question(ask("bob", "read", "alice-1"))
    assert client.evaluate(question, "id-1").is_allowed
    pdp.stop()
    with pytest.raises(PdpUnavailableError):
        client.evaluate(question, "id-2")
    again = start_cerbos(tmp_path, port=pdp.port)
    try:
        assert client.evaluate(question, "id-3").is_allowed
    finally:
        again.stop()


def test_the_policies_pass_their_own_tests() -> None:
    cerbos = find_cerbos()
    assert cerbos is not None
    command = [str(cerbos), "compile", str(POLICIES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert "[23 OK]" in done.stdout
