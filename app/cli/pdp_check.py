"""`bff pdp check`: whether the decision point can be reached, is the right one, and decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from app.core.errors import PdpUnavailableError
from app.core.identity import Identity
from app.core.permissions import CallFacts, Permission, Resource, build_question, encode_question
from app.services.authorization import Pdp, build_question_policy
from app.services.control_http import ControlUnreachableError
from app.services.login_flow import build_new_session
from app.services.oidc_claims import ClaimSelection
from app.services.pdp_answers import Decision, PdpAnswerError
from app.services.pdp_credentials import PdpCredentialsError
from app.settings import Configuration

REQUEST_ID = "bff-pdp-check"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried."""

    name: str
    outcome: Literal["ok", "note", "failed"]
    told: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The question that is asked to see whether there is an answer; which one it is does not matter."""

    permission: Permission
    claims: Mapping[str, object]


def check_pdp(configuration: Configuration, pdp: Pdp, sample: Sample, monotonic: Callable[[], float]) -> Iterator[Step]:
    """Tries one step after the other, up to the first without which the next has no sense."""
    yield _tell_connection(configuration)
    credentials = _check_credentials(configuration, pdp)
    yield credentials
    if credentials.outcome == "failed":
        return
    metadata = _check_metadata(pdp)
    yield metadata
    if metadata.outcome == "failed":
        return
    question = _build_question(configuration, sample, sample.permission)
    yield Step("question", "ok", question.decode())
    yield _check_evaluation(pdp, question, monotonic)
    second = Permission(sample.permission.action, Resource(sample.permission.resource.type, f"{REQUEST_ID}-2"))
    yield _check_batch(pdp, [question, _build_question(configuration, sample, second)], monotonic)


def choose_permission(configuration: Configuration) -> Permission:
    """The first that a mapping names, on no resource in particular."""
    inline = (mapping for route in configuration.route_table.routes for mapping in route.authz_map.values())
    first = next(inline, None) or next((m for ms in configuration.pdp.endpoint_map.values() for m in ms.values()), None)
    return Permission(first.action, Resource(first.resource)) if first else Permission("read", Resource("sample"))


def build_document(steps: list[Step]) -> dict[str, object]:
    return {"ok": not has_failed(steps), "steps": [asdict(step) for step in steps]}


def has_failed(steps: list[Step]) -> bool:
    return any(step.outcome == "failed" for step in steps)


def _tell_connection(configuration: Configuration) -> Step:
    url = configuration.pdp.connection.base_url
    if not configuration.settings.pdp.enabled:
        return Step("connection", "note", f"{url}, but pdp.enabled is false: no call is decided")
    if not configuration.pdp.connection.verify_ssl:
        return Step("connection", "note", f"{url}, whose certificate is not checked (verify_ssl)")
    return Step("connection", "ok", url)


def _check_credentials(configuration: Configuration, pdp: Pdp) -> Step:
    kind = configuration.pdp.connection.auth
    try:
        pdp.credentials.get_headers()
    except PdpCredentialsError as error:
        return Step("credentials", "failed", str(error))
    return Step("credentials", "ok", kind)


def _check_metadata(pdp: Pdp) -> Step:
    try:
        named = pdp.endpoints.fetch_metadata()
    except ControlUnreachableError as error:
        return Step("metadata", "failed", f"the decision point cannot be reached: {error}")
    except PdpAnswerError as error:
        return Step("metadata", "failed", f"{error}: every question would be refused")
    if not named:
        return Step("metadata", "note", "it publishes none, so the paths in endpoints are used")
    return Step("metadata", "ok", f"its own; they name {', '.join(sorted(named))}")


def _build_question(configuration: Configuration, sample: Sample, permission: Permission) -> bytes:
    """As for a call of somebody who logged in with these claims."""
    oidc = configuration.settings.oidc
    login = build_new_session(oidc, ClaimSelection.from_configuration(configuration), sample.claims, "")
    identity = Identity(login.user_id, login.subject, login.provider, "", login.claims)
    facts = CallFacts(acr=login.acr, client_address="192.0.2.1")
    return encode_question(build_question(build_question_policy(configuration.pdp), identity, permission, facts))


def _check_evaluation(pdp: Pdp, question: bytes, monotonic: Callable[[], float]) -> Step:
    asked_at = monotonic()
    try:
        decision = pdp.client.evaluate(question, REQUEST_ID)
    except PdpUnavailableError as error:
        return Step("decision", "failed", error.internal_reason)
    url = pdp.endpoints.find().evaluation
    return Step("decision", "ok", f"{_tell(decision)}, in {_tell_ms(monotonic() - asked_at)}, by {url}")


def _check_batch(pdp: Pdp, questions: list[bytes], monotonic: Callable[[], float]) -> Step:
    asked_at = monotonic()
    try:
        decisions = pdp.client.evaluate_all(questions, REQUEST_ID)
    except PdpUnavailableError as error:
        return Step("batch", "failed", error.internal_reason)
    if not pdp.client.has_batches:
        return Step("batch", "note", "it has no batch endpoint: pages' questions are asked one by one")
    return Step("batch", "ok", f"{len(decisions)} decisions, in {_tell_ms(monotonic() - asked_at)}")


def _tell(decision: Decision) -> str:
    word = "allowed" if decision.is_allowed else "denied"
    step_up = f" (would do: acr {' '.join(decision.acr_values)})" if decision.acr_values else ""
    return f"{word}: {decision.reason}{step_up}" if decision.reason else f"{word}{step_up}"


def _tell_ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
