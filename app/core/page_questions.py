"""Reads the questions a page asks about its own user (OpenID AuthZEN 1.0 §6.1, §7.1): data in, permissions out.

Who asks and under which circumstances is not the page's to say: `subject` and `context` may be there, as the
specification has them, and nothing of them is used. What else is not in the specification is refused: a member that was
passed over in silence would make the answer one to another question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from app.core.errors import BadRequestError
from app.core.permission_sources import check_value
from app.core.permissions import ANY_ID, Permission, Resource

MOST_QUESTIONS = 200
LONGEST_NAME = 256
LONGEST_ID = 1024
MOST_PROPERTIES = 50

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]

_SEMANTICS: tuple[Semantic, ...] = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
_LAST_DECISION: Mapping[str, bool] = {"deny_on_first_deny": False, "permit_on_first_permit": True}
_QUESTION = frozenset({"subject", "action", "resource", "context"})
_SEVERAL = _QUESTION | {"evaluations", "options"}

Answer = TypeVar("Answer")
_Object = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PageQuestions:
    """Several questions in their order. `are_several` is False for a single one that came where several may."""

    permissions: tuple[Permission, ...]
    semantic: Semantic = "execute_all"
    are_several: bool = True

    def cut(self, answers: Sequence[Answer], decisions: Sequence[bool]) -> Sequence[Answer]:
        """Returns the answers up to the one that the semantic ends with (AuthZEN 1.0 §7.1.2.1)."""
        last = _LAST_DECISION.get(self.semantic)
        if last is None or last not in decisions:
            return answers
        return answers[: decisions.index(last) + 1]


def parse_page_question(document: object) -> Permission:
    """Reads one question; raises `BadRequestError`."""
    question = _require_object(document, "The question")
    _check_members(question, _QUESTION, "the question")
    return _build_permission(question)


def parse_page_questions(document: object) -> PageQuestions:
    """Reads several questions, with what stands at the top as their default; raises `BadRequestError`.

    Without any `evaluations` it is a single question (AuthZEN 1.0 §7.1).
    """
    request = _require_object(document, "The request")
    _check_members(request, _SEVERAL, "the request")
    semantic = _parse_semantic(request.get("options", {}))
    evaluations = request.get("evaluations", [])
    if not isinstance(evaluations, list):
        raise BadRequestError("evaluations must be a list.")
    if len(evaluations) > MOST_QUESTIONS:
        raise BadRequestError(f"There are more than {MOST_QUESTIONS} questions.")
    defaults = {name: value for name, value in request.items() if name in _QUESTION}
    if not evaluations:
        return PageQuestions((_build_permission(defaults),), semantic, are_several=False)
    return PageQuestions(tuple(_build_permission(_merge(defaults, each)) for each in evaluations), semantic)


def check_name(value: object, what: str, longest: int = LONGEST_NAME) -> str:
    """Returns the text; raises `BadRequestError` for what is none, is empty or too long."""
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{what} must be a text with something in it.")
    if len(value) > longest:
        raise BadRequestError(f"{what} must have at most {longest} characters.")
    return value


def _parse_semantic(options: object) -> Semantic:
    """Other options are between a caller and a decision point that both know them."""
    semantic = _require_object(options, "options").get("evaluations_semantic", "execute_all")
    if semantic not in _SEMANTICS:
        raise BadRequestError(f"evaluations_semantic must be one of {', '.join(_SEMANTICS)}.")
    return semantic


def _merge(defaults: _Object, evaluation: object) -> _Object:
    own = _require_object(evaluation, "Each of evaluations")
    _check_members(own, _QUESTION, "an evaluation")
    return {**defaults, **own}


def _build_permission(question: _Object) -> Permission:
    for ignored in ("subject", "context"):
        _require_object(question.get(ignored, {}), ignored)
    action = _require_object(question.get("action"), "action")
    resource = _require_object(question.get("resource"), "resource")
    _check_members(action, frozenset({"name", "properties"}), "action")
    _check_members(resource, frozenset({"type", "id", "properties"}), "resource")
    return Permission(
        action=check_name(action.get("name"), "action.name"),
        resource=Resource(
            type=check_name(resource.get("type"), "resource.type"),
            id=check_name(resource.get("id", ANY_ID), "resource.id", LONGEST_ID),
            properties=_check_properties(resource.get("properties", {}), "resource.properties"),
        ),
        action_properties=_check_properties(action.get("properties", {}), "action.properties"),
    )


def _check_properties(value: object, where: str) -> _Object:
    properties = _require_object(value, where)
    if len(properties) > MOST_PROPERTIES:
        raise BadRequestError(f"There are more than {MOST_PROPERTIES} {where}.")
    return {
        check_name(name, f"A name in {where}"): check_value(property_, where) for name, property_ in properties.items()
    }


def _require_object(value: object, what: str) -> _Object:
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} must be an object.")
    return value


def _check_members(document: _Object, known: frozenset[str], what: str) -> None:
    if not known.issuperset(document):
        raise BadRequestError(f"There is something else than {', '.join(sorted(known))} in {what}.")
