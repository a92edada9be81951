"""AuthZEN for pages: what may the user of this session do? Thin; the subject is never the caller's to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, Response, g, jsonify, request

from app.blueprints.me import get_services, require_session
from app.core.headers import choose_correlation_id
from app.core.json_body import check_json_headers, parse_json_body
from app.core.page_questions import LONGEST_ID, check_name, parse_page_question, parse_page_questions
from app.core.permission_sources import CallValues, QueryParameter
from app.core.permissions import ANY_ID, Resource
from app.services.pdp_answers import Decision
from app.services.permission_guard import Asking
from app.services.session_store import SessionRecord, build_identity

MAX_QUESTIONS_BYTES = 256 * 1024

Parsed = TypeVar("Parsed")

blueprint = Blueprint("authzen", __name__)


@blueprint.post("/access/v1/evaluation")
def evaluate() -> Response:
    """Answers one question (AuthZEN 1.0 §6)."""
    asking = build_asking(require_session())
    permission = read_questions(parse_page_question)
    return build_answer(build_evaluation(get_services().page_authorizer.evaluate(asking, permission)))


@blueprint.post("/access/v1/evaluations")
def evaluate_all() -> Response:
    """Answers several questions at once (AuthZEN 1.0 §7)."""
    asking = build_asking(require_session())
    questions = read_questions(parse_page_questions)
    evaluations = [
        build_evaluation(decision) for decision in get_services().page_authorizer.evaluate_all(asking, questions)
    ]
    return build_answer({"evaluations": evaluations} if questions.are_several else evaluations[0])


@blueprint.get("/api/me/capabilities")
def list_capabilities() -> Response:
    """Tells which actions on a resource, or on a type of resource, the user may do."""
    asking = build_asking(require_session())
    id = find_parameter("id")  # noqa: A001  as it is called in the query
    resource = Resource(
        check_name(find_parameter("resource"), "resource"),
        check_name(ANY_ID if id is None else id, "id", LONGEST_ID),
    )
    actions = get_services().page_authorizer.list_actions(asking, resource)
    return jsonify(resource=resource.type, id=resource.id, actions=actions)


def build_asking(record: SessionRecord) -> Asking:
    """Returns who asks: the user of the session, from where the call came."""
    return Asking(
        identity=build_identity(record),
        acr=record.acr,
        client_address=g.bff_call.client_address,
        route_id=g.bff_call.route_id,
        method=request.method,
        request_id=g.bff_call.request_id,
    )


def read_questions(parse: Callable[[object], Parsed]) -> Parsed:
    """Reads the body; raises `BadRequestError` and `BodyTooLargeError`."""
    check_json_headers(request.headers.get("Content-Type"), request.headers.get("Content-Encoding"))
    request.max_content_length = MAX_QUESTIONS_BYTES
    return parse(parse_json_body(request.get_data()))


def find_parameter(name: str) -> object:
    """Returns a parameter of the query; raises `BadRequestError` when it is there twice or not UTF-8."""
    return QueryParameter(name).find(CallValues({}, request.query_string.decode("latin-1"), None))


def build_evaluation(decision: Decision) -> dict[str, object]:
    """Returns what a page may know of a decision: nothing of the context but the words that are for the user."""
    if not decision.reason:
        return {"decision": decision.is_allowed}
    return {"decision": decision.is_allowed, "context": {"reason_user": decision.reason}}


def build_answer(document: dict[str, object]) -> Response:
    """A caller that gives its request an id gets it back (AuthZEN 1.0 §10.1.3), if it is one that a header may hold."""
    answer = jsonify(document)
    caller_id = choose_correlation_id(request.headers.get("X-Request-ID"), lambda: "")
    if caller_id:
        answer.headers["X-Request-ID"] = caller_id
    return answer
