"""What users may know and change about themselves: their own sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, current_app, jsonify, request

from app.core.cross_site import check_csrf_token
from app.core.errors import NotAuthenticatedError, SessionExpiredError
from app.services.session_store import SessionRecord, SessionStore, build_utc_time
from app.services.session_store.flask_interface import get_session

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("me", __name__)


@blueprint.get("/api/me/sessions")
def list_sessions() -> Response:
    """Tells where the user is logged in."""
    services, own = get_services(), require_session()
    listed = services.own_sessions.list_all(own)
    return jsonify(sessions=[build_session(session.record, own, services.session_store) for session in listed])


@blueprint.delete("/api/me/sessions/<id>")
def end_session(id: str) -> Response:  # noqa: A002  as it is called in the answer
    """Ends one of the user's sessions, here or on another device."""
    services, own = get_services(), require_session()
    if services.own_sessions.end(own, id):
        services.metrics.count_session_ended("ended_by_user")
    if id == own.reference:
        get_session().end()
    answer = Response(status=204)
    del answer.headers["Content-Type"]
    return answer


def require_session() -> SessionRecord:
    """Returns the live session, which has been used now; raises 401, or 403 for an unsafe call without its token."""
    session, services = get_session(), get_services()
    session_id = session.session_id
    if session_id is None:
        raise NotAuthenticatedError
    check_csrf_token(request.method, session_id, request.headers.get("X-CSRF-Token"))
    if session.record is None:
        raise SessionExpiredError
    return services.session_store.touch(session_id, session.record)


def build_session(record: SessionRecord, own: SessionRecord, sessions: SessionStore) -> dict[str, object]:
    """Returns what a user sees of a session. `id` names it and cannot be used as a cookie."""
    return {
        "id": record.reference,
        "current": record.reference == own.reference,
        "device": record.device,
        "created_at": build_utc_time(record.created_at),
        "last_seen_at": build_utc_time(record.last_seen_at),
        "expires_at": build_utc_time(sessions.expires_at(record)),
        "absolute_expires_at": build_utc_time(sessions.absolute_expires_at(record)),
    }


def get_services() -> Services:
    """Returns the services of this application."""
    return cast("Services", current_app.extensions["bff"])
