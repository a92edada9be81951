"""Where the identity provider says that somebody has logged out there. No browser comes here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, current_app, g, request

from app.core.errors import BadRequestError
from app.observability import audit

if TYPE_CHECKING:
    from app.wiring import Services

MAX_BODY_BYTES = 72 * 1024
"""A logout token of 64 KiB and its field's name."""

blueprint = Blueprint("backchannel", __name__)


@blueprint.post("/auth/backchannel-logout")
def end_sessions() -> Response:
    """Answers 200 when the sessions are over or there were none, 400 to a bad token, 503 to one worth sending again,
    and 429 to a bad one from an address that has sent too many of them."""
    services = cast("Services", current_app.extensions["bff"])
    client_address = g.bff_call.client_address
    try:
        ended = services.backchannel_logout.accept(read_logout_token())
    except BadRequestError as error:
        services.logout_refusals.check(client_address)
        services.logout_refusals.note(client_address)
        audit.record("logout.refused", reason=error.internal_reason, client_address=client_address)
        # What OAuth says beside what we always say (OIDC Back-Channel Logout 1.0 §2.8).
        error.members = {"error": "invalid_request", "error_description": error.detail}
        raise
    for _ in ended:
        services.metrics.count_session_ended("backchannel_logout")
    answer = Response(status=200)
    del answer.headers["Content-Type"]
    # The provider waits for this answer, and may not hear anything else from us before it has it.
    answer.call_on_close(partial(services.backchannel_logout.revoke, ended))
    return answer


def read_logout_token() -> str:
    """Returns the one `logout_token` of the form; what else it holds is ignored, as §2.5 says."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise BadRequestError("The logout token comes in a form.", internal_reason="the body is not a form")
    request.max_content_length = MAX_BODY_BYTES
    tokens = request.form.getlist("logout_token")
    if len(tokens) != 1:
        raise BadRequestError("The form holds one logout_token.", internal_reason=f"{len(tokens)} logout tokens")
    return tokens[0]
