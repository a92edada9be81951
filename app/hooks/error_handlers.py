"""Every error that reaches Flask becomes one of ours, and is answered here.

Flask's session interface raises outside of views: what it raises arrives as `original_exception` of an
InternalServerError, and is taken out again. Anything unforeseen is `internal_error`, logged without what it held.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, g, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, InternalServerError

from app.core.cross_site import build_fetch_metadata, is_navigation
from app.core.errors import (
    BadRequestError,
    BffError,
    BodyTooLargeError,
    HeadersTooLargeError,
    InternalError,
    MethodNotAllowedError,
    RouteNotFoundError,
    StoreUnavailableError,
    UriTooLongError,
)
from app.core.headers import HeaderView
from app.core.own_endpoints import FORWARD_AUTH_PATHS
from app.core.problem import build_problem
from app.observability import audit, logs

if TYPE_CHECKING:
    from app.wiring import Services

log = logs.get_logger(__name__)

RenderProblemPage = Callable[[BffError, str], str]
"""Makes an HTML page of an error and its request id; put at `app.extensions["bff_problem_page"]` by who has pages."""

_BY_STATUS: dict[int, type[BffError]] = {
    413: BodyTooLargeError,
    414: UriTooLongError,
    431: HeadersTooLargeError,
}


_POSTED_PAGE = "/auth/callback"
"""Where the identity provider's page may post a form to, whose answer the browser shows."""


def register(app: Flask, services: Services) -> None:
    """Makes this the one place where errors of our own endpoints are answered."""
    # Also under test, so that what is tested is what is answered.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    # Flask would log exceptions a second time, refusals among them.
    app.logger.disabled = True

    def answer(error: Exception) -> Response:
        g.bff_proxied = False
        call = current_app.extensions["bff_get_call"]()
        refusal = to_bff_error(error)
        call.error_code = refusal.code
        log_refusal(refusal, error)
        count_refusal(refusal, services)
        user_id, session = call.user
        audit.record_refusal(
            refusal.code,
            method=call.method,
            path=call.path,
            route_id=call.route_id,
            user_id=user_id,
            session=session,
            client_address=call.client_address,
        )
        status, lines, body = build_problem(refusal, request_id=call.request_id, login_url=call.own_origin.login_url)
        page = render_page(refusal, call.path, call.request_id)
        # The same lines in the same order as the pipeline's refusals: a hidden path looks like one that is not there.
        response = Response(body if page is None else page, status=f"{status} {HTTPStatus(status).phrase}")
        response.headers = Headers([*lines, ("X-Correlation-ID", call.request_id)])
        if page is not None:
            response.headers["Content-Type"] = "text/html; charset=utf-8"
        return response

    app.register_error_handler(Exception, answer)


def to_bff_error(error: Exception) -> BffError:
    """Returns the error of ours that stands for what Flask, werkzeug or our own code raised."""
    if isinstance(error, InternalServerError) and isinstance(error.original_exception, Exception):
        return to_bff_error(error.original_exception)
    if isinstance(error, BffError):
        return error
    if not isinstance(error, HTTPException):
        return InternalError()
    status = error.code or 500
    if status == 405:
        return MethodNotAllowedError(sorted(getattr(error, "valid_methods", None) or ()))
    if status == 404 or status < 400:
        # werkzeug redirects to another spelling of a path; here a path has one.
        return RouteNotFoundError()
    if status in _BY_STATUS:
        return _BY_STATUS[status]()
    return BadRequestError() if status < 500 else InternalError()


def count_refusal(refusal: BffError, services: Services) -> None:
    services.metrics.count_refusal(refusal.code)
    if isinstance(refusal, StoreUnavailableError):
        services.metrics.count_store_error()


def log_refusal(refusal: BffError, error: Exception) -> None:
    """Tells operators what the answer does not; ordinary refusals are in the access line already."""
    cause = error.original_exception if isinstance(error, InternalServerError) else error
    if isinstance(refusal, InternalError):
        log.error("a call could not be answered", exc_info=cause, reason=refusal.internal_reason)
    elif refusal.internal_reason or refusal.status >= 500:
        log.warning("a call was refused", error_code=refusal.code, reason=refusal.internal_reason)


def render_page(refusal: BffError, path: str, request_id: str) -> str | None:
    """Returns a page when a browser is to show the answer, None when a program reads it."""
    render: RenderProblemPage | None = current_app.extensions.get("bff_problem_page")
    if render is None or not path.startswith("/auth/") or path in FORWARD_AUTH_PATHS:
        return None
    metadata = build_fetch_metadata(HeaderView(request.headers.items()))
    method = "GET" if path == _POSTED_PAGE else request.method
    return render(refusal, request_id) if is_navigation(method, metadata) else None
