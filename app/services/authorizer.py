"""Gets decisions: from memory where the same question was answered a moment ago, else from the decision point.

Of callers that miss the same decision at once, one asks; the others wait for its answer. Errors are not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.errors import PdpUnavailableError
from app.core.permissions import Question, build_decision_key, encode_properties, encode_question
from app.services.decision_cache import DecisionCache, Scope
from app.services.pdp_answers import Decision
from app.services.shared_decisions import SharedDecisions
from app.services.single_flight import SingleFlight

_LONGEST_WAIT_SECONDS = 120
"""Far beyond what the decision point is given; a flight that is lost must not hold its callers for ever."""
_ALL_BATCHES_SECONDS = 10.0
"""No further batch is sent after that: questions that cannot share one would keep a caller waiting for each."""


class DecisionPoint(Protocol):
    """Whoever decides; each method raises `PdpUnavailableError` when there is no answer."""

    def evaluate(self, question: bytes, request_id: str) -> Decision: ...

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]: ...


class Decided:
    """A decision, and whether it was remembered."""

    def __init__(self, decision: Decision, *, is_remembered: bool, key: bytes | None = None) -> None:
        self.decision = decision
        self.is_remembered = is_remembered
        self.key = key
        """What `recall` finds the decision by, as long as it is remembered; None where it never is."""


@dataclass(frozen=True)
class _Asked:
    question: Question
    encoded: bytes
    key: bytes


class Authorizer:
    """One instance serves all requests of a worker."""

    def __init__(
        self,
        decision_point: DecisionPoint,
        *,
        cache: DecisionCache | None,
        shared: SharedDecisions | None = None,
        get_epoch: Callable[[], str],
        max_batch: int,
        count: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Without a cache every question is asked. What is shared is looked up for single questions only: many together
        cost the decision point less than as many look-ups cost us. `count` is told how each was answered: allowed,
        denied or failed by the decision point, remembered, or shared by another worker."""
        self._decision_point = decision_point
        self._cache = cache
        self._shared = shared
        self._get_epoch = get_epoch
        self._max_batch = max_batch
        self._count = count
        self._monotonic = monotonic
        self._flights: SingleFlight[Decided] = SingleFlight()

    def decide(self, question: Question, scope: Scope, request_id: str) -> Decided:
        """Returns the decision; raises `PdpUnavailableError`.

        `scope` is what a decision is remembered within: who asks, in which session and with which claims.
        """
        encoded = encode_question(question)
        key = build_decision_key(encoded)
        cache = self._cache
        if cache is None or not question.is_cacheable:
            return Decided(self._evaluate(_Asked(question, encoded, key), request_id), is_remembered=False)
        full_scope = (*scope, self._get_epoch())
        decision = cache.find(full_scope, key)
        if decision is not None:
            self._count("remembered")
            return Decided(decision, is_remembered=True, key=key)
        asked = _Asked(question, encoded, key)
        flight = self._flights.join(
            (full_scope, asked.key), lambda: self._get_to_keep(asked, cache, full_scope, request_id)
        )
        if not flight.wait(_LONGEST_WAIT_SECONDS):
            raise PdpUnavailableError(internal_reason="the decision point was asked and nothing came of it")
        return flight.get()

    def recall(self, key: bytes, scope: Scope) -> Decided | None:
        """Returns what is remembered of the question that `decide` gave this key for, in the same scope."""
        decision = self._cache.find((*scope, self._get_epoch()), key) if self._cache is not None else None
        if decision is None:
            return None
        self._count("remembered")
        return Decided(decision, is_remembered=True, key=key)

    def decide_all(self, questions: Sequence[Question], scope: Scope, request_id: str) -> list[Decided]:
        """As `decide`, for several questions; the decisions come in their order, and equal questions are asked once."""
        asked = [_ask(question) for question in questions]
        full_scope = (*scope, self._get_epoch()) if self._cache is not None else scope
        known = {each.key: decision for each in asked if (decision := self._find(each, full_scope)) is not None}
        missing = {each.key: each for each in asked if each.key not in known}
        fresh: dict[bytes, Decision] = {}
        give_up_at = self._monotonic() + _ALL_BATCHES_SECONDS
        for batch in build_batches(missing.values(), self._max_batch):
            if self._monotonic() >= give_up_at:
                raise PdpUnavailableError(internal_reason="the decision point takes too long for so many questions")
            for each, decision in zip(batch, self._evaluate_batch(batch, request_id), strict=True):
                fresh[each.key] = decision
                if self._cache is not None and each.question.is_cacheable:
                    self._cache.keep(full_scope, each.key, decision)
        return [
            Decided(known[each.key], is_remembered=True)
            if each.key in known
            else Decided(fresh[each.key], is_remembered=False)
            for each in asked
        ]

    def _find(self, asked: _Asked, full_scope: Scope) -> Decision | None:
        if self._cache is None or not asked.question.is_cacheable:
            return None
        decision = self._cache.find(full_scope, asked.key)
        if decision is not None:
            self._count("remembered")
        return decision

    def _get_to_keep(self, asked: _Asked, cache: DecisionCache, full_scope: Scope, request_id: str) -> Decided:
        found = self._shared.find(full_scope, asked.key) if self._shared is not None else None
        if found is not None:
            self._count("shared")
            cache.keep(full_scope, asked.key, found.decision, found.seconds_left)
            return Decided(found.decision, is_remembered=True, key=asked.key)
        decision = self._evaluate(asked, request_id)
        cache.keep(full_scope, asked.key, decision)
        if self._shared is not None:
            self._shared.keep(full_scope, asked.key, decision)
        return Decided(decision, is_remembered=False, key=asked.key)

    def _evaluate(self, asked: _Asked, request_id: str) -> Decision:
        return self._evaluate_batch([asked], request_id)[0]

    def _evaluate_batch(self, batch: Sequence[_Asked], request_id: str) -> list[Decision]:
        try:
            if len(batch) == 1:
                decisions = [self._decision_point.evaluate(batch[0].encoded, request_id)]
            else:
                decisions = self._decision_point.evaluate_all([asked.encoded for asked in batch], request_id)
        except PdpUnavailableError:
            self._count("failed")
            raise
        for decision in decisions:
            self._count("allowed" if decision.is_allowed else "denied")
        return decisions


def build_batches(asked: Iterable[_Asked], max_batch: int) -> list[list[_Asked]]:
    """Spreads questions over batches so that no decision point can confuse two of them.

    Some decide a batch in which a subject, an action or a resource comes twice, with different properties, by the first
    one's.
    """
    batches: list[_Batch] = []
    for each in asked:
        batch = next((batch for batch in batches if batch.takes(each, max_batch)), None)
        if batch is None:
            batch = _Batch([], {})
            batches.append(batch)
        batch.add(each)
    return [batch.members for batch in batches]


@dataclass
class _Batch:
    members: list[_Asked]
    properties: dict[tuple[str, str, str], bytes]
    """Of every subject, action and resource in it, by role, type and id."""

    def takes(self, asked: _Asked, max_batch: int) -> bool:
        return len(self.members) < max_batch and all(
            self.properties.get(name, properties) == properties for name, properties in _list_entities(asked)
        )

    def add(self, asked: _Asked) -> None:
        self.members.append(asked)
        self.properties.update(_list_entities(asked))


def _list_entities(asked: _Asked) -> tuple[tuple[tuple[str, str, str], bytes], ...]:
    """Compared as they are encoded: to Python, `True` equals `1`."""
    subject, action, resource = asked.question.subject, asked.question.action, asked.question.resource
    return (
        (("subject", subject.type, subject.id), encode_properties(subject.properties)),
        (("action", "", action.name), encode_properties(action.properties)),
        (("resource", resource.type, resource.id), encode_properties(resource.properties)),
    )


def _ask(question: Question) -> _Asked:
    encoded = encode_question(question)
    return _Asked(question, encoded, build_decision_key(encoded))
