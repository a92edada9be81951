"""The WSGI door of the proxy: whatever no endpoint of ours claims goes down the pipeline.

The rule takes every method, so that the pipeline and not Flask decides what 404 and 405 mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.datastructures import Headers
from werkzeug.routing import PathConverter, Rule

from app.gateway.messages import ProxyResponse
from app.gateway.wsgi_door import WsgiAnswer, WsgiTunnel, build_proxy_request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

blueprint = Blueprint("proxy", __name__)


class AnyPathConverter(PathConverter):
    """Takes every path, `//x` included: what is odd about a path is for the pipeline to say."""

    regex = "(?s:.*)"
    part_isolating = False


def carry(path: str) -> Response:
    """Hands one call to the pipeline and its answer to the WSGI server.

    `path` is what WSGI made of the target, decoded; nothing looks at it.
    """
    del path
    g.bff_proxied = True
    services = current_app.extensions["bff"]
    environ = request.environ
    timeout_seconds = services.configuration.settings.server.body_timeout_seconds
    proxy_request = build_proxy_request(environ, body_timeout_seconds=timeout_seconds)
    answer = services.pipeline.handle(proxy_request)
    if answer.tunnel is not None:
        return _SwitchResponse(answer, WsgiTunnel(answer, environ["gunicorn.socket"]))
    body = WsgiAnswer(answer, environ.get("gunicorn.socket"), proxy_request.method, timeout_seconds)
    return _build_flask_response(answer, body)


def _build_flask_response(answer: ProxyResponse, body: WsgiAnswer) -> Response:
    """Wraps without touching: no header of Flask's own (a default Content-Type above all) may join the backend's."""
    response = _BackendResponse(body, status=f"{answer.status} {answer.reason}".rstrip(), direct_passthrough=True)
    response.headers = Headers(answer.headers)
    return response


class _BackendResponse(Response):
    """A backend's answer. Werkzeug would look into some of its lines, and fail at a `Location` that it cannot take
    apart, when nobody can close the answer any more."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:  # noqa: ARG002
        return self.headers


class _SwitchResponse(_BackendResponse):
    """A 101. Flask drops the body of such an answer, and here it is the tunnel."""

    def __init__(self, answer: ProxyResponse, tunnel: WsgiTunnel) -> None:
        super().__init__(status=f"{answer.status} {answer.reason}".rstrip())
        self.headers = Headers(answer.headers)
        self._tunnel = tunnel

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:  # noqa: ARG002
        return self._tunnel  # which the server closes


@blueprint.record
def _claim_what_is_left(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["anything"] = AnyPathConverter
    state.app.view_functions["proxy.carry"] = carry
    state.app.url_map.add(Rule("/<anything:path>", endpoint="proxy.carry"))
    state.app.url_map.add(Rule("/<anything:path>", endpoint="proxy.carry", websocket=True))
