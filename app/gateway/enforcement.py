"""Step 5: what the call means, and whether the decision point allows it (DESIGN §11)."""

from __future__ import annotations

from app.core.errors import AccessDeniedError, BodyTooLargeError
from app.core.json_body import MAX_JSON_BODY_BYTES, check_json_headers, parse_json_body
from app.core.permissions import Permission
from app.core.request_target import RequestTarget
from app.core.routes import RouteMatch
from app.gateway.bodies import LimitedBody, ReadBody
from app.gateway.call import Call
from app.gateway.messages import RequestBody
from app.services.enforcement_switch import EnforcementSwitch
from app.services.path_mapper import PathMapper
from app.services.permission_guard import Asking, PermissionGuard, check_decision, name_decision

OFF = "off"
"""The access line's `decision` where enforcement is off."""


class Enforcer:
    """One instance serves all calls of a worker."""

    def __init__(self, *, mapper: PathMapper, guard: PermissionGuard, switch: EnforcementSwitch) -> None:
        self._mapper = mapper
        self._guard = guard
        self._switch = switch

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
        acr = call.session.acr if call.session else ""
        decided = self._guard.decide(
            Asking(
                identity=call.identity,
                acr=acr,
                client_address=call.client_address,
                route_id=call.route.id if call.route else "",
                method=call.request.method,
                request_id=call.request_id,
            ),
            permission,
        )
        call.decision = name_decision(decided)
        check_decision(decided.decision, acr)


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
