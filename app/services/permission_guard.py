"""Asks the decision point about one call, tells the audit trail, and says no in the words of an error."""

from __future__ import annotations

from collections.abc import Callable

from app.core.errors import AccessDeniedError, InsufficientUserAuthenticationError
from app.core.identity import Identity
from app.core.permissions import TIME_FACT, CallFacts, Permission, QuestionPolicy, build_question
from app.observability import audit
from app.services.authorizer import Authorizer, Decided
from app.services.decision_trail import record_decision
from app.services.pdp_answers import Decision
from app.services.session_store import build_utc_time

_NO_FACTS = CallFacts()


class Asking:
    """Who asks, and in which call."""

    def __init__(
        self, identity: Identity, acr: str, client_address: str, route_id: str, method: str, request_id: str
    ) -> None:
        """`route_id` names the route, the `forward_auth` entry or the endpoint of ours that was called."""
        self.identity = identity
        self.acr = acr
        self.client_address = client_address
        self.route_id = route_id
        self.method = method
        self.request_id = request_id


class PermissionGuard:
    """One instance serves all calls of a worker."""

    def __init__(
        self,
        *,
        policy: QuestionPolicy,
        authorizer: Authorizer,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        record: Callable[..., None] = audit.record,
    ) -> None:
        """`record` takes an audit event."""
        self._policy = policy
        self._authorizer = authorizer
        self._clock = clock
        self._monotonic = monotonic
        self._record = record

    def decide(self, asking: Asking, permission: Permission) -> Decided:
        """Returns the decision, remembered or fresh; raises `PdpUnavailableError`."""
        identity = asking.identity
        question = build_question(self._policy, identity, permission, self._gather_facts(asking))
        asked_at = self._monotonic()
        decided = self._authorizer.decide(question, identity.decision_scope, asking.request_id)
        if not decided.is_remembered:
            record_decision(
                identity,
                permission,
                decided.decision,
                route_id=asking.route_id,
                method=asking.method,
                seconds=self._monotonic() - asked_at,
                record=self._record,
            )
        return decided

    @property
    def asks_the_same_again(self) -> bool:
        """Whether a question follows from who asks and what for, and from nothing else of the call."""
        return not self._policy.context_facts

    def recall(self, key: bytes, identity: Identity) -> Decided | None:
        """Returns what is remembered of a question that `decide` gave this key for, of the same identity."""
        return self._authorizer.recall(key, identity.decision_scope)

    def _gather_facts(self, asking: Asking) -> CallFacts:
        if not self._policy.context_facts:
            return _NO_FACTS
        return CallFacts(
            acr=asking.acr,
            client_address=asking.client_address,
            route_id=asking.route_id,
            time=build_utc_time(self._clock()) if TIME_FACT in self._policy.context_facts else "",
        )


def check_decision(decision: Decision, acr: str) -> None:
    """Raises `AccessDeniedError`, or `InsufficientUserAuthenticationError` where another login than one of class `acr`
    would do."""
    if decision.is_allowed:
        return
    if decision.acr_values and acr not in decision.acr_values:  # else the same login would be asked for again
        raise InsufficientUserAuthenticationError(acr_values=decision.acr_values, is_login_held_to_it=False)
    raise AccessDeniedError(members={"reason": decision.reason} if decision.reason else None)


def name_decision(decided: Decided) -> str:
    """Returns what the access line says."""
    word = "allow" if decided.decision.is_allowed else "deny"
    return f"{word} (remembered)" if decided.is_remembered else word
