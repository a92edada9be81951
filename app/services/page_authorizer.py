"""Answers what a page asks about its own user, so that it shows only what would work.

A hint and no enforcement: what a page was told opens nothing, and each call is decided when it comes, from what the
call itself holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.core.page_questions import PageQuestions
from app.core.permissions import TIME_FACT, CallFacts, Permission, Resource, build_question
from app.services.authorization import Authorization
from app.services.decision_trail import record_decision
from app.services.pdp_answers import Decision
from app.services.permission_guard import Asking
from app.services.session_store import build_utc_time


class PageAuthorizer:
    """One instance serves all requests of a worker."""

    def __init__(
        self, authorization: Authorization, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._authorization = authorization
        self._clock = clock
        self._monotonic = monotonic

    def evaluate(self, asking: Asking, permission: Permission) -> Decision:
        """Answers one question; raises `PdpUnavailableError`."""
        return self._decide_all(asking, [permission])[0]

    def evaluate_all(self, asking: Asking, questions: PageQuestions) -> Sequence[Decision]:
        """Answers questions in their order, as far as their semantic goes; raises `PdpUnavailableError`.

        All are asked, together, also those behind the one that the semantic ends with: a batch costs no more.
        """
        decisions = self._decide_all(asking, questions.permissions)
        return questions.cut(decisions, [decision.is_allowed for decision in decisions])

    def list_actions(self, asking: Asking, resource: Resource) -> list[str]:
        """Returns which of the actions that the mappings know for this type of resource the user may do, sorted."""
        actions = self._authorization.mapper.list_actions(resource.type)
        decisions = self._decide_all(asking, [Permission(action, resource) for action in actions])
        return [action for action, decision in zip(actions, decisions, strict=True) if decision.is_allowed]

    def _decide_all(self, asking: Asking, permissions: Sequence[Permission]) -> list[Decision]:
        authorization = self._authorization
        if authorization.switch.lets_pass(len(permissions)):
            return [Decision(is_allowed=True) for _ in permissions]
        facts, identity = self._gather_facts(asking), asking.identity
        questions = [build_question(authorization.policy, identity, permission, facts) for permission in permissions]
        asked_at = self._monotonic()
        decided = authorization.authorizer.decide_all(questions, identity.decision_scope, asking.request_id)
        seconds = self._monotonic() - asked_at
        for permission, each in zip(permissions, decided, strict=True):
            if not each.is_remembered:
                record_decision(
                    identity,
                    permission,
                    each.decision,
                    route_id=asking.route_id,
                    method=asking.method,
                    seconds=seconds,
                )
        return [each.decision for each in decided]

    def _gather_facts(self, asking: Asking) -> CallFacts:
        """There is no route: the endpoint's own name would be told as one."""
        has_time = TIME_FACT in self._authorization.policy.context_facts
        return CallFacts(
            acr=asking.acr,
            client_address=asking.client_address,
            time=build_utc_time(self._clock()) if has_time else "",
        )
