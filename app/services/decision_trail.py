"""Tells the audit trail of decisions that were just made; remembered ones are in it already."""

from __future__ import annotations

from collections.abc import Callable

from app.core.identity import Identity
from app.core.permissions import Permission
from app.observability import audit
from app.services.pdp_answers import Decision


def record_decision(
    identity: Identity,
    permission: Permission,
    decision: Decision,
    *,
    route_id: str,
    method: str,
    seconds: float,
    record: Callable[..., None] = audit.record,
) -> None:
    """Gives `record` the event `access.decided`. `route_id` is a route or an own endpoint; asking took `seconds`."""
    record(
        "access.decided",
        user_id=identity.user_id,
        session=identity.session_reference or None,
        route_id=route_id,
        method=method,
        action=permission.action,
        resource_type=permission.resource.type,
        resource_id=permission.resource.id,
        decision="allow" if decision.is_allowed else "deny",
        reason=decision.reason,
        duration_ms=round(seconds * 1000, 3),
    )


def record_forgetting(by: str, **fields: object) -> None:
    """`by`: admin (the endpoint) or operator (the command)."""
    audit.record("decisions.dropped", by=by, **fields)
