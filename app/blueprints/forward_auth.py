"""ForwardAuth for an edge such as Traefik: yes with identity headers, no, or the way to the login. Thin."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, current_app, g, request

from app.core.client_address import is_trusted_peer
from app.core.cookies import build_foreign_cookie_line
from app.core.cross_site import build_fetch_metadata, is_navigation
from app.core.errors import AccessDeniedError, NotAuthenticatedError, SessionExpiredError, UnmappedError
from app.core.forward_auth import (
    ForwardAuthRule,
    ForwardedRequest,
    build_no_identity_lines,
    parse_forwarded_request,
)
from app.core.headers import HeaderView, build_identity_lines
from app.core.identity import Identity
from app.services.session_store.flask_interface import get_session

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("forward_auth", __name__)


@blueprint.get("/auth/verify")
@blueprint.get("/auth/forward", endpoint="verify_alias")
def verify() -> Response:
    """200 with who calls, or a refusal that the edge hands to the browser; 302 to the login for a page that may."""
    services = get_services()
    policy = services.policy
    if not is_trusted_peer(request.environ.get("REMOTE_ADDR", ""), policy.trusted_networks):
        raise AccessDeniedError("Only an edge may ask this.", internal_reason="the peer is no trusted proxy")
    headers = HeaderView(request.headers.items())
    forwarded = parse_forwarded_request(headers, default_scheme=policy.origins.main.scheme)
    own_origin = policy.origins.find(urlsplit(forwarded.origin).netloc) or policy.origins.main
    g.bff_call.own_origin = own_origin
    match = services.configuration.forward_auth.find(forwarded.host, forwarded.target.path)
    if match is None:
        raise UnmappedError("Nothing is said about this address.")
    session, metadata = get_session(), build_fetch_metadata(headers)
    try:
        identity = services.forward_authorizer.authorize(
            forwarded,
            match,
            session_id=session.session_id,
            record=session.record,
            metadata=metadata,
            client_address=g.bff_call.client_address,
            request_id=g.bff_call.request_id,
        )
    except (NotAuthenticatedError, SessionExpiredError):
        if may_be_sent_to_login(forwarded, match.rule):
            return build_login_redirect(forwarded, own_origin.login_url)
        raise
    return build_yes(identity, headers.get_all("cookie"), policy.session_cookie)


@blueprint.after_request
def deny_identity(response: Response) -> Response:
    """Gives every no empty identity headers: what the client sent under these names must not stay."""
    if response.status_code != 200:
        for name, value in build_no_identity_lines():
            response.headers[name] = value
    return response


def may_be_sent_to_login(forwarded: ForwardedRequest, rule: ForwardAuthRule) -> bool:
    """A script would follow the redirect and get a page for an answer."""
    metadata = build_fetch_metadata(HeaderView(request.headers.items()))
    return rule.login_redirect and forwarded.method == "GET" and is_navigation(forwarded.method, metadata)


def build_login_redirect(forwarded: ForwardedRequest, login_url: str) -> Response:
    response = Response(status=302)
    response.headers["Location"] = f"{login_url}?return_to={quote(forwarded.url, safe='')}"
    del response.headers["Content-Type"]
    return response


def build_yes(identity: Identity, cookie_lines: list[str], session_cookie: str) -> Response:
    """The edge puts these lines in place of the client's; `Cookie` is the client's own without ours."""
    response = Response(status=200)
    del response.headers["Content-Type"]
    for name, value in build_identity_lines(identity):
        response.headers[name] = value
    response.headers["Cookie"] = build_foreign_cookie_line(cookie_lines, session_cookie)
    return response


def get_services() -> Services:
    """Returns the services of this application."""
    return cast("Services", current_app.extensions["bff"])
