"""Step 5: what the call means, and whether the decision point allows it (DESIGN §11)."""

from __future__ import annotations

from collections.abc import Callable

from app.core.errors import AccessDeniedError, BodyTooLargeError
from app.core.generations import Generations
from app.core.json_body import MAX_JSON_BODY_BYTES, check_json_headers, parse_json_body
from app.core.permissions import Permission
from app.core.request_target import RequestTarget
from app.core.routes import RouteMatch
from app.gateway.bodies import LimitedBody, ReadBody
from app.gateway.call import Call
from app.gateway.messages import RequestBody
from app.services.authorizer import Decided
from app.services.enforcement_switch import EnforcementSwitch
from app.services.path_mapper import PathMapper
from app.services.permission_guard import Asking, PermissionGuard, check_decision, name_decision

OFF = "off"
"""The access line's `decision` where enforcement is off."""
MOST_KEYS = 8192
KEY_SECONDS = 60.0
LONGEST_KEPT_TARGET = 512

_CallKey = tuple[str | None, ...]
"""The identity's decision scope, route, method, raw path and query: a question is made of these."""


class Enforcer:
    """One instance serves all calls of a worker."""

    def __init__(
        self,
        *,
        mapper: PathMapper,
        guard: PermissionGuard,
        switch: EnforcementSwitch,
        monotonic: Callable[[], float],
    ) -> None:
        self._mapper = mapper
        self._guard = guard
        self._switch = switch
        self._keys: Generations[_CallKey, bytes] = Generations(MOST_KEYS, KEY_SECONDS, monotonic)

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
        if self._recall_precedent(call):
            return body
        call_key = self._build_call_key(call, match, target)
        key = self._keys.find(call_key) if call_key is not None else None
        if key is not None and self._recall(call, key):
            return body
        mapped = self._mapper.map_call(match, call.request.method, target.path)
        if not mapped.needs_body:
            key = self._decide(call, mapped.resolve(target.query))
            if key is not None and call_key is not None:
                self._keys.keep(call_key, key)
            return body
        content = _read_json(call, body) if body is not None else None
        self._decide(call, mapped.resolve(target.query, parse_json_body(content) if content is not None else None))
        return ReadBody(content) if content is not None else None

    def _build_call_key(self, call: Call, match: RouteMatch, target: RequestTarget) -> _CallKey | None:
        """Returns what a question without a body follows from, as a whole; None for one that is not to be kept."""
        identity = call.identity
        is_short = len(target.path) + len(target.query or "") <= LONGEST_KEPT_TARGET
        if identity is None or not identity.session_reference or not is_short or not self._guard.asks_the_same_again:
            return None
        return (*identity.decision_scope, match.route.id, call.request.method, target.path, target.query)

    def _recall_precedent(self, call: Call) -> bool:
        precedent = call.caller_precedent
        key = precedent.question_key if precedent is not None else None
        return key is not None and self._recall(call, key)

    def _recall(self, call: Call, key: bytes) -> bool:
        """Whether the call was decided by what is remembered, without building its question anew."""
        decided = self._guard.recall(key, call.identity) if call.identity is not None else None
        if decided is None:
            return False
        if call.caller_precedent is not None:
            call.caller_precedent.question_key = key
        self._apply(call, decided)
        return True

    def _decide(self, call: Call, permission: Permission) -> bytes | None:
        """Returns what the decision is remembered by."""
        if call.identity is None:
            raise AccessDeniedError(internal_reason="nobody is known on a route that asks the decision point")
        decided = self._guard.decide(
            Asking(
                identity=call.identity,
                acr=call.session.acr if call.session else "",
                client_address=call.client_address,
                route_id=call.route.id if call.route else "",
                method=call.request.method,
                request_id=call.request_id,
            ),
            permission,
        )
        self._apply(call, decided)
        return decided.key

    def _apply(self, call: Call, decided: Decided) -> None:
        call.decision = name_decision(decided)
        check_decision(decided.decision, call.session.acr if call.session else "")


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
