"""Judges what the decision point answers (AuthZEN 1.0 §6.2, §7.2). Nothing here sends anything.

Only `true` is a permission. An answer that is not exactly what the specification says is no decision at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from app.core.errors import BadRequestError
from app.core.json_body import parse_json_body
from app.services.control_http import ControlAnswer

_LONGEST_REASON = 300
_MOST_ACR_VALUES = 10


class PdpAnswerError(Exception):
    """The answer is no decision. The text is for operators and repeats nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the decision point said."""

    is_allowed: bool
    reason: str = ""
    """For the user: `context.reason_user`. Nothing else of the context leaves the BFF."""
    acr_values: tuple[str, ...] = ()
    """With a refusal: which login would be enough (step-up)."""
    is_lasting: bool = True
    """False where the decision point says that it could not evaluate: nothing to remember."""


def parse_evaluation_answer(answer: ControlAnswer) -> Decision:
    """Returns the decision of one evaluation; raises `PdpAnswerError`."""
    return _parse_decision(_parse_success(answer))


def parse_evaluations_answer(answer: ControlAnswer, count: int) -> list[Decision]:
    """Returns the decisions of a batch in the order of the questions; raises `PdpAnswerError` unless all are there."""
    document = _parse_success(answer)
    evaluations = document.get("evaluations") if isinstance(document, Mapping) else None
    if not isinstance(evaluations, list):
        raise PdpAnswerError("there is no list of evaluations")
    if len(evaluations) != count:
        raise PdpAnswerError(f"there are {len(evaluations)} evaluations where {count} were asked for")
    return [_parse_decision(evaluation) for evaluation in evaluations]


def parse_metadata_answer(answer: ControlAnswer, identifier: str) -> Mapping[str, str]:
    """Returns the endpoints that the decision point's metadata name (AuthZEN 1.0 §9.1), by member name.

    Raises `PdpAnswerError` when it is somebody else's: the identifier must be exactly the one that was asked (§9.2.3).
    """
    document = _parse_success(answer)
    if not isinstance(document, Mapping):
        raise PdpAnswerError("the metadata are no JSON object")
    if document.get("policy_decision_point") != identifier:
        raise PdpAnswerError(f"the metadata are not those of {identifier}: policy_decision_point is another")
    return {name: url for name, url in document.items() if name.endswith("_endpoint") and isinstance(url, str)}


def _parse_success(answer: ControlAnswer) -> object:
    if answer.status != HTTPStatus.OK:
        raise PdpAnswerError(f"the status is {answer.status}")
    try:
        return parse_json_body(answer.body)
    except BadRequestError as error:
        raise PdpAnswerError("the body is not plain JSON") from error


def _parse_decision(document: object) -> Decision:
    if not isinstance(document, Mapping):
        raise PdpAnswerError("an evaluation is no JSON object")
    is_allowed = document.get("decision")
    if not isinstance(is_allowed, bool):
        raise PdpAnswerError("decision is not true or false")
    context = document.get("context")
    if context is None:
        return Decision(is_allowed)
    if not isinstance(context, Mapping):
        raise PdpAnswerError("context is no JSON object")
    if is_allowed:
        return Decision(is_allowed=True)
    return Decision(
        is_allowed=False,
        reason=_find_reason(context.get("reason_user")),
        acr_values=_find_acr_values(context),
        is_lasting="error" not in context,
    )


def _find_reason(found: object) -> str:
    """The text itself, or one of several by language or status (as in AuthZEN 1.0 §5.5.1's examples), English first."""
    if isinstance(found, Mapping):
        texts = {name: text for name, text in found.items() if isinstance(text, str)}
        english = next((name for name in texts if name == "en" or name.startswith("en-")), None)
        found = texts[english] if english else next(iter(texts.values()), "")
    if not isinstance(found, str):
        return ""
    return "".join(character for character in found if character.isprintable())[:_LONGEST_REASON]


def _find_acr_values(context: Mapping[str, object]) -> tuple[str, ...]:
    found = context.get("acr_values", context.get("acr"))
    values: Sequence[object] = found.split() if isinstance(found, str) else found if isinstance(found, list) else ()
    texts = [value for value in values if isinstance(value, str) and value.isascii() and value.isprintable() and value]
    return tuple(text for text in texts if not set(text) & set(' "\\'))[:_MOST_ACR_VALUES]
