"""What the BFF itself answers to a call that reaches no backend: refusals, redirects to the login, preflights."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from app.core.cross_site import build_cors_headers, build_preflight_answer_headers, is_navigation
from app.core.errors import BffError
from app.core.problem import build_login_url, build_problem
from app.core.routes import Route
from app.gateway.call import Call
from app.gateway.collaborators import Recorder
from app.gateway.messages import HeaderLines, ProxyResponse
from app.gateway.policy import GatewayPolicy


class OwnAnswers:
    def __init__(self, policy: GatewayPolicy, recorder: Recorder) -> None:
        self._policy = policy
        self._recorder = recorder

    def refuse(self, call: Call, error: BffError) -> ProxyResponse:
        """The one place where a refusal becomes an answer."""
        call.error_code = error.code
        self._recorder.refuse(call, error)
        if error.status == HTTPStatus.UNAUTHORIZED and error.is_worth_a_redirect and _may_be_sent_to_login(call):
            parameters = [("return_to", call.request.raw_target), *error.login_parameters]
            location = build_login_url(call.own_origin.login_url, parameters)
            lines = [("Location", location), ("Cache-Control", "no-store"), ("X-Correlation-ID", call.request_id)]
            return self._finish(call, HTTPStatus.FOUND, lines, b"")
        status, headers, body = build_problem(error, request_id=call.request_id, login_url=call.own_origin.login_url)
        headers.append(("X-Correlation-ID", call.request_id))
        headers += self.build_cors_lines(call)
        return self._finish(call, HTTPStatus(status), headers, body)

    def answer_preflight(self, call: Call, route: Route) -> ProxyResponse:
        headers = build_preflight_answer_headers(
            call.metadata.origin or "",
            call.headers.get("access-control-request-headers"),
            allowed_methods=route.methods,
            own_origin=call.own_origin.url,
            allow_origins=self._policy.allowed_origins,
        )
        headers.append(("X-Correlation-ID", call.request_id))
        return self._finish(call, HTTPStatus.NO_CONTENT, headers, b"")

    def build_cors_lines(self, call: Call) -> HeaderLines:
        """Returns the header lines by which a page of another origin may read the answer; none for most calls."""
        if not self._policy.allowed_origins:
            return []
        return build_cors_headers(
            call.metadata.origin, own_origin=call.own_origin.url, allow_origins=self._policy.allowed_origins
        )

    def _finish(self, call: Call, status: HTTPStatus, headers: HeaderLines, body: bytes) -> ProxyResponse:
        """Builds an answer that is complete, with its length."""
        if status is not HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(body))))
        call.bytes_out = len(body)
        return ProxyResponse(
            status,
            status.phrase,
            headers,
            [body],
            partial(self._recorder.end, call, status),
            has_piece_at_hand=True,
            is_whole_at_hand=True,
        )


def _may_be_sent_to_login(call: Call) -> bool:
    """A caller with a bearer token is a program: it is told 401, and no login page would get it a token."""
    route = call.route
    if route is None or not route.navigation or route.auth != "session":
        return False
    return is_navigation(call.request.method, call.metadata)
