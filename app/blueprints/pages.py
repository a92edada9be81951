"""The few pages the BFF shows by itself: no script, nothing loaded, one style element allowed by a nonce.

Everything that came from outside is escaped by Jinja; what an identity provider wrote is not shown at all (H12).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from flask import Blueprint, Response, g, render_template
from flask.blueprints import BlueprintSetupState

from app.core.errors import BffError

NO_TRY_AGAIN = frozenset({"unsafe_return_to", "csrf_failed", "unknown_host", "route_not_found", "method_not_allowed"})
"""With these, starting the login again is no way out."""

FORM_POLICY = ""
"""Chromium holds the redirects after a form post to `form-action` as well, and a logout goes on to the provider and
from there to wherever that sends the browser: a page with our form cannot name them all."""
NO_FORM_POLICY = "; form-action 'none'"


def build_page(template: str, values: Mapping[str, object], *, has_form: bool = False) -> Response:
    """Renders one of our templates as an answer with its own content security policy."""
    response = Response(render_page(template, values, has_form=has_form), content_type="text/html; charset=utf-8")
    return add_page_policy(response)


def render_page(template: str, values: Mapping[str, object], *, has_form: bool = False) -> str:
    """Renders a page and remembers its policy for whoever makes the answer."""
    nonce = secrets.token_urlsafe(16)
    form_policy = FORM_POLICY if has_form else NO_FORM_POLICY
    g.bff_page_policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'{form_policy}"
    )
    return render_template(template, style_nonce=nonce, **values)


def add_page_policy(response: Response) -> Response:
    """Gives an answer the policy of the page it holds, if it holds one of ours."""
    if response.mimetype == "text/html" and "bff_page_policy" in g:
        response.headers["Content-Security-Policy"] = g.bff_page_policy
    return response


def render_problem_page(error: BffError, request_id: str) -> str:
    """Renders the page for a refusal, with its stable code and, where that may help, a way to try again."""
    return_to: str = g.get("bff_try_again_return_to", "")
    login_path = "/auth/login" + (f"?{urlencode({'return_to': return_to})}" if return_to else "")
    values = {
        "title": error.title,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        "login_path": "" if error.code in NO_TRY_AGAIN else login_path,
    }
    return render_page("refused.html", values)


def register_problem_pages(blueprint: Blueprint) -> None:
    """Makes refusals pages where a browser shows them, for the whole application the blueprint is put into."""

    def offer(state: BlueprintSetupState) -> None:
        state.app.extensions["bff_problem_page"] = render_problem_page

    blueprint.record(offer)
    blueprint.after_app_request(add_page_policy)
