"""What every answer of our own carries besides its content, and the cross-site rule for our own endpoints.

Answers that came from a backend are left alone: the pipeline has dressed them (`g.bff_proxied`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, g, request

from app.core.cross_site import (
    build_cors_headers,
    build_fetch_metadata,
    build_preflight_answer_headers,
    check_cross_site,
    is_preflight,
)
from app.core.errors import MethodNotAllowedError
from app.core.headers import HeaderView
from app.core.own_endpoints import needs_cross_site_check
from app.gateway.policy import GatewayPolicy
from app.hooks.request_checks import find_own_methods

if TYPE_CHECKING:
    from app.wiring import Services

HTML_POLICY = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""For a page that set none of its own: it can show text and post a form to us, nothing else."""


def register(app: Flask, services: Services) -> None:
    """Answers preflights of our own endpoints and adds headers to what we answer."""
    policy = GatewayPolicy.from_settings(services.configuration.settings)

    def answer_options() -> Response | None:
        if request.method != "OPTIONS" or g.get("bff_call") is None:
            return None
        methods = find_own_methods(g.bff_call.path)
        origin = request.headers.get("Origin")
        requested_method = request.headers.get("Access-Control-Request-Method")
        if (
            origin is None
            or not is_preflight(request.method, origin, requested_method)
            or not needs_cross_site_check(requested_method or "", g.bff_call.path)
        ):
            raise MethodNotAllowedError(sorted(methods))
        lines = build_preflight_answer_headers(
            origin,
            request.headers.get("Access-Control-Request-Headers"),
            allowed_methods=methods,
            own_origin=g.bff_call.own_origin.url,
            allow_origins=policy.allowed_origins,
        )
        answer = Response(status=204)
        answer.headers.extend(lines)
        del answer.headers["Content-Type"]
        return answer

    def check_origin() -> None:
        call = g.get("bff_call")
        if call is not None and needs_cross_site_check(request.method, call.path):
            check_cross_site(
                request.method,
                build_fetch_metadata(HeaderView(request.headers.items())),
                own_origin=call.own_origin.url,
                allow_origins=policy.allowed_origins,
            )

    def add_headers(response: Response) -> Response:
        if g.get("bff_proxied"):
            return response
        call = current_app.extensions["bff_get_call"]()
        headers = response.headers
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Referrer-Policy", "same-origin")
        headers["X-Correlation-ID"] = call.request_id
        if response.mimetype == "text/html":
            headers.setdefault("Content-Security-Policy", HTML_POLICY)
        if call.error_code or (needs_cross_site_check(request.method, call.path) and request.method != "OPTIONS"):
            for name, value in build_cors_headers(
                request.headers.get("Origin"), own_origin=call.own_origin.url, allow_origins=policy.allowed_origins
            ):
                headers.add(name, value)
        return response

    app.before_request(answer_options)
    app.before_request(check_origin)
    app.after_request(add_headers)
