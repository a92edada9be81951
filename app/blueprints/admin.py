"""For operators, on `server.internal_bind` only; elsewhere these paths do not exist (`hooks.request_context`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, g, request

from app.core.errors import RouteNotFoundError

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("admin", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """What all workers counted, for Prometheus."""
    if not g.bff_internal:
        raise RouteNotFoundError
    services: Services = current_app.extensions["bff"]
    content_type, body = services.metrics.render(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
