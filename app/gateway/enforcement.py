"""Step 5: what the call means, and whether the decision point allows it (DESIGN §11)."""

from __future__ import annotations

from collections.abc import Callable

from app.core.errors import AccessDeniedError, BodyTooLargeError, InsufficientUserAuthenticationError
from app.core.json_body import MAX_JSON_BODY_BYTES, check_json_headers, parse_json_body
from app.core.permissions import TIME_FACT, CallFacts, Permission, QuestionPolicy, build_question
from app.core.request_target import RequestTarget
from app.core.routes import RouteMatch
from app.gateway.bodies import LimitedBody, ReadBody
from app.gateway.call import Call
from app.gateway.messages import RequestBody
from app.observability import audit
from app.services.authorizer import Authorizer
from app.services.decision_trail import record_decision
from app.services.enforcement_switch import EnforcementSwitch
from app.services.path_mapper import PathMapper
from app.services.session_store import build_utc_time

OFF = "off"
"""The access line's `decision` where enforcement is off."""


class Enforcer:
    """One instance serves all calls of a worker."""

    def __init__(
        self,
        *,
        mapper: PathMapper,
        policy: QuestionPolicy,
        authorizer: Authorizer,
        switch: EnforcementSwitch,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        record: Callable[..., None] = audit.record,
    ) -> None:
        """`record` takes an audit event."""
        self._mapper = mapper
        self._authorizer = authorizer
        self._policy = policy
        self._switch = switch
        self._record = record
        self._clock = clock
        self._monotonic = monotonic

    def check(
        self, call: Call, match: RouteMatch, target: RequestTarget, body: LimitedBody | None
    ) -> RequestBody | None:
        """Returns the body to send on, which is another object where it had to be read here.

        Raises `UnmappedError`, `AccessDeniedError`, `InsufficientUserAuthenticationError`, `PdpUnavailableError`, and,
        for what the question needs from the call, `BadRequestError`, `AmbiguousPathError` and `BodyTooLargeError`.
        """
        if match.route.authz == "none":
            return body
        if self._switch.lets_pass():
            call.decision = OFF
            return body
        mapped = self._mapper.map_call(match, call.request.method, target.path)
        if not mapped.needs_body:
            self._decide(call, mapped.resolve(target.query))
            return body
        content = _read_json(call, body) if body is not None else None
        self._decide(call, mapped.resolve(target.query, parse_json_body(content) if content is not None else None))
        return ReadBody(content) if content is not None else None

    def _decide(self, call: Call, permission: Permission) -> None:
        if call.identity is None:
            raise AccessDeniedError(internal_reason="nobody is known on a route that asks the decision point")
        question = build_question(self._policy, call.identity, permission, self._gather_facts(call))
        asked_at = self._monotonic()
        decided = self._authorizer.decide(question, call.identity.decision_scope, call.request_id)
        decision = decided.decision
        call.decision = _name_decision(decision.is_allowed, is_remembered=decided.is_remembered)
        if not decided.is_remembered:
            record_decision(
                call.identity,
                permission,
                decision,
                route_id=call.route.id if call.route else "",
                method=call.request.method,
                seconds=self._monotonic() - asked_at,
                record=self._record,
            )
        if decision.is_allowed:
            return
        acr = call.session.acr if call.session else ""
        if decision.acr_values and acr not in decision.acr_values:  # else the same login would be asked for again
            raise InsufficientUserAuthenticationError(acr_values=decision.acr_values)
        raise AccessDeniedError(members={"reason": decision.reason} if decision.reason else None)

    def _gather_facts(self, call: Call) -> CallFacts:
        if not self._policy.context_facts:
            return _NO_FACTS
        return CallFacts(
            acr=call.session.acr if call.session else "",
            client_address=call.client_address,
            route_id=call.route.id if call.route else "",
            time=build_utc_time(self._clock()) if TIME_FACT in self._policy.context_facts else "",
        )


_NO_FACTS = CallFacts()


def _read_json(call: Call, body: LimitedBody) -> bytes:
    check_json_headers(call.headers.get("content-type"), call.headers.get("content-encoding"))
    content = bytearray()
    while piece := body.read(MAX_JSON_BODY_BYTES + 1 - len(content)):
        content += piece
        if len(content) > MAX_JSON_BODY_BYTES:
            raise BodyTooLargeError(
                f"The request body is larger than the {MAX_JSON_BODY_BYTES} bytes that are read for a permission."
            )
    return bytes(content)


def _name_decision(is_allowed: bool, *, is_remembered: bool) -> str:
    word = "allow" if is_allowed else "deny"
    return f"{word} (remembered)" if is_remembered else word
