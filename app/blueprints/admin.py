"""For operators, on `server.internal_bind` only; elsewhere these paths do not exist (`hooks.request_context`).

What is below `/admin` needs the token of `admin.token_file` besides. No browser ever has it: a page that makes
somebody's browser call here is refused like everybody else without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, g, request

from app.core.errors import RouteNotFoundError
from app.services.decision_trail import record_forgetting

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("admin", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """What all workers counted, for Prometheus."""
    content_type, body = _require_internal().metrics.render(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


@blueprint.post("/admin/pdp/forget")
def forget_decisions() -> Response:
    """Forgets every decision on every node. A decision point may call it when policies change; no body is read."""
    services = _require_internal()
    services.admin_token.check(request.headers.get("Authorization"))
    services.authorization.epoch.advance()
    record_forgetting("admin", client_address=g.bff_call.client_address)
    answer = Response(status=204)
    del answer.headers["Content-Type"]
    return answer


def _require_internal() -> Services:
    if not g.bff_internal:
        raise RouteNotFoundError
    services: Services = current_app.extensions["bff"]
    return services
