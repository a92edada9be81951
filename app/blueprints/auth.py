"""Login, logout and the session as a browser sees them. Thin: the flows decide, this translates.

`/auth/…` are pages and redirects, `/api/auth/…` are for scripts. Nothing here answers a script with a redirect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, after_this_request, current_app, g, jsonify, request

from app.blueprints.pages import build_page, register_problem_pages
from app.core.cookies import find_cookie_values
from app.core.cross_site import (
    FetchMetadata,
    build_csrf_token,
    build_fetch_metadata,
    check_csrf_token,
)
from app.core.errors import (
    BadRequestError,
    BffError,
    IdpUnavailableError,
    LoginFailedError,
    MethodNotAllowedError,
    NotAuthenticatedError,
    SessionExpiredError,
)
from app.core.headers import HeaderView
from app.core.hosts import OwnOrigin
from app.observability import audit
from app.services.login_flow import ClaimedLogin, LoginDone
from app.services.oidc_answers import AnswerRefusedError, parse_json_object
from app.services.return_addresses import check_return_address
from app.services.session_store import SessionRecord
from app.services.session_store.flask_interface import get_session

if TYPE_CHECKING:
    from app.wiring import Services

MAX_FORM_BYTES = 16 * 1024
FORM_TYPE = "application/x-www-form-urlencoded"
FORM_TYPES = frozenset({FORM_TYPE, "multipart/form-data"})

blueprint = Blueprint("auth", __name__)
register_problem_pages(blueprint)


def get_services() -> Services:
    """Returns the services of this application."""
    return cast("Services", current_app.extensions["bff"])


def get_own_origin() -> str:
    """Returns the origin of ours that the browser has called."""
    own_origin: OwnOrigin = g.bff_call.own_origin
    return own_origin.url


@blueprint.get("/auth/login")
def start_login() -> Response:
    """Sends the browser to the identity provider."""
    services = get_services()
    try:
        start = services.login_flow.start(
            request.args.items(multi=True),
            cookies=request.cookies,
            live_session_id=get_session().session_id,
            client_address=g.bff_call.client_address,
            own_origin=get_own_origin(),
        )
    except BffError as error:
        services.metrics.count_login("refused")
        if isinstance(error, LoginFailedError | IdpUnavailableError):  # not what the browser did wrong
            record_failed_login(error)
        raise
    return build_redirect(302, start.redirect_url, start.set_cookies)


@blueprint.route("/auth/callback", methods=["GET", "POST"])
def finish_login() -> Response:
    """Takes the identity provider's answer and ends the login, one way or the other."""
    services = get_services()
    check_callback_method(services.configuration.settings.oidc.response_mode)
    try:
        claimed = services.login_flow.claim(read_callback(), find_cookies, own_origin=get_own_origin())
        close_attempt(claimed)
        done = services.login_flow.finish(
            claimed, presented_session_id=get_session().session_id, device=request.headers.get("User-Agent", "")
        )
    except BffError as error:
        services.metrics.count_login("failed")
        record_failed_login(error)
        raise
    services.metrics.count_login("completed")
    for _ in range(done.ended_sessions):
        services.metrics.count_session_ended("new_login")
    for _ in range(done.ended_by_limit):
        services.metrics.count_session_ended("session_limit")
    get_session().start(done.session_id, done.record)
    return build_login_answer(done)


def record_failed_login(error: BffError) -> None:
    audit.record("login.failed", code=error.code, reason=error.internal_reason)


@blueprint.get("/auth/logout")
def show_logout() -> Response:
    """Shows one button. Ends nothing: an image or a link can make a browser come here (L13)."""
    settings = get_services().configuration.settings
    return_to = find_return_to({})
    if return_to:
        check_return_address(return_to, settings, get_own_origin())
    session_id = get_session().session_id
    if session_id is None and get_fetch_metadata().site == "cross-site":
        # A link on another site led here, so the Strict cookie stayed behind; a step from our own page brings it.
        return build_page("moving_on.html", {"title": "Log out", "address": "/auth/logout"})
    if session_id is None:
        return build_page("logged_out.html", {})
    return build_page(
        "logout.html", {"csrf_token": build_csrf_token(session_id), "return_to": return_to}, has_form=True
    )


@blueprint.post("/auth/logout")
def end_session() -> Response:
    """Ends the session; a form is answered with a redirect, a script with JSON."""
    session, services = get_session(), get_services()
    is_form = request.mimetype in FORM_TYPES
    fields = read_form() if is_form else read_json()
    session_id = session.session_id
    if session_id is not None:
        presented = request.headers.get("X-CSRF-Token") or fields.get("csrf_token")
        check_csrf_token(request.method, session_id, presented)
    done = services.logout_flow.end(session_id, own_origin=get_own_origin(), return_to=find_return_to(fields))
    session.end()
    services.metrics.count_logout()
    if done.had_session:
        services.metrics.count_session_ended("logout")
    if is_form:
        return build_redirect(303, done.logout_url or done.return_to or "/auth/logged-out")
    return jsonify(logout_url=done.logout_url)


@blueprint.get("/auth/logout/continue")
def continue_logout() -> Response:
    """Spends a logout ticket and goes on to the identity provider. No script can read this redirect."""
    refuse_head()
    return build_redirect(
        302, get_services().logout_flow.continue_(request.args.get("ticket", ""), own_origin=get_own_origin())
    )


@blueprint.get("/auth/logged-out")
def show_logged_out() -> Response:
    """Where the identity provider returns to: goes on to where the logout said, or says that it is done."""
    refuse_head()
    return_to = get_services().logout_flow.logged_out(request.args.get("state", ""), own_origin=get_own_origin())
    if return_to:
        return build_redirect(302, return_to)
    # Opened by hand, or after a logout in another tab: it says what is true, and "logged out" is not with a session.
    return build_page("logged_out.html" if get_session().record is None else "logged_in.html", {})


@blueprint.get("/api/auth/session")
@blueprint.get("/auth/session", endpoint="tell_session_alias")
def tell_session() -> Response:
    """Tells a script who is logged in; counts as activity unless it says `slide=false`."""
    session_id, record = require_session()
    return build_session_answer(session_id, record, slides=request.args.get("slide", "").lower() not in ("false", "0"))


@blueprint.post("/api/auth/session/refresh")
def refresh_session() -> Response:
    """Keeps the session alive and renews the user's token if it is due; the same answer as `tell_session`."""
    services = get_services()
    session_id, _ = require_session()
    check_csrf_token(request.method, session_id, request.headers.get("X-CSRF-Token"))
    services.token_provider.renew_user_token_if_due(services.session_store.session_key(session_id))
    record = services.session_store.find(session_id)  # with the claims it has now, if it is there at all
    if record is None:
        raise SessionExpiredError(members={"authenticated": False})
    return build_session_answer(session_id, record, slides=True)


def build_session_answer(session_id: str, record: SessionRecord, *, slides: bool) -> Response:
    """Answers 200 with the user."""
    store = get_services().session_store
    if slides:
        record = store.touch(session_id, record)
    now = get_services().clock()
    return jsonify(
        authenticated=True,
        user=build_user(record, get_services().configuration.settings.session.user_claims),
        expires_in=store.expires_in(record, now),
        absolute_expires_in=store.absolute_expires_in(record, now),
        csrf_token=build_csrf_token(session_id),
    )


def require_session() -> tuple[str, SessionRecord]:
    """Returns the live session and its id; raises 401 in the shape that this endpoint promises."""
    session = get_session()
    record, session_id = session.record, session.session_id
    if session_id is None:
        raise NotAuthenticatedError(members={"authenticated": False})
    if record is None:
        raise SessionExpiredError(members={"authenticated": False})
    return session_id, record


def build_user(record: SessionRecord, user_claims: Sequence[str]) -> dict[str, object]:
    """Returns what a page may know about its user. No claim can stand in for the id."""
    return {**{name: record.claims[name] for name in user_claims if name in record.claims}, "id": record.user_id}


def check_callback_method(response_mode: str) -> None:
    """An answer comes in the way that was asked for and in no other; a HEAD must not use it up."""
    method = "POST" if response_mode == "form_post" else "GET"
    if request.method != method:
        raise MethodNotAllowedError([method])


def read_callback() -> Iterable[tuple[str, str]]:
    """Returns the parameters of the answer: of the query, or of the form and then nothing of the query."""
    if request.method == "GET":
        return request.args.items(multi=True)
    if request.mimetype != FORM_TYPE or request.query_string:
        raise BadRequestError("The login answer is not a form.", internal_reason="not a form, or with a query")
    request.max_content_length = MAX_FORM_BYTES
    return request.form.items(multi=True)


def close_attempt(claimed: ClaimedLogin) -> None:
    """Takes the login's cookie away with whatever is answered, and lets a refusal lead back to the same place."""
    g.bff_try_again_return_to = claimed.return_to

    @after_this_request
    def remove_login_cookie(response: Response) -> Response:
        response.headers.add("Set-Cookie", claimed.cookie_removal)
        return response


def build_login_answer(done: LoginDone) -> Response:
    """Goes on to where the user wanted to go."""
    if done.needs_page:
        return build_page("moving_on.html", {"title": "You are logged in", "address": done.return_to})
    return build_redirect(303, done.return_to)


def build_redirect(status: int, address: str, set_cookies: Sequence[str] = ()) -> Response:
    """Returns a redirect without a body, which would repeat the address."""
    response = Response(status=status)
    response.headers["Location"] = address
    del response.headers["Content-Type"]
    for line in set_cookies:
        response.headers.add("Set-Cookie", line)
    return response


def get_fetch_metadata() -> FetchMetadata:
    """Returns what the browser says about where the request comes from."""
    return build_fetch_metadata(HeaderView(request.headers.items()))


def find_cookies(name: str) -> list[str]:
    """Returns every value that a cookie of this name came with."""
    return find_cookie_values([request.environ.get("HTTP_COOKIE", "")], name)


def read_form() -> dict[str, str]:
    """Returns the fields of a small form; raises `BadRequestError` when one is there twice."""
    request.max_content_length = MAX_FORM_BYTES
    if any(len(values) > 1 for _, values in request.form.lists()):
        raise BadRequestError("A field of the form is there twice.")
    return request.form.to_dict()


def read_json() -> dict[str, str]:
    """Returns the text members of a small JSON object; a body of any other kind says nothing."""
    request.max_content_length = MAX_FORM_BYTES
    if not request.is_json:
        return {}
    try:
        document = parse_json_object(request.get_data())
    except AnswerRefusedError as error:
        raise BadRequestError("The body is not a JSON object.") from error
    return {name: value for name, value in document.items() if isinstance(value, str)}


def find_return_to(fields: Mapping[str, str]) -> str:
    """Returns where a logout is to end, from the body or the query; raises `BadRequestError` when it is there twice."""
    given = [*request.args.getlist("return_to"), *filter(None, [fields.get("return_to")])]
    if len(given) > 1:
        raise BadRequestError("The return address is there twice.")
    return given[0] if given else ""


def refuse_head() -> None:
    """A HEAD, which link checkers and previews send, must not use up what is good once."""
    if request.method == "HEAD":
        raise MethodNotAllowedError(["GET"])
