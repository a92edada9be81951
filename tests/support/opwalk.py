"""Walks the OpenID Provider's pages (login, consent, logout) without a browser.

    final_url = walk(session, authorization_url, stop_at="http://127.0.0.1:9410/cb", login="alice")

The pages are those of npm oidc-provider's devInteractions, which the demo's provider shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

MOST_STEPS = 20


class WalkError(AssertionError):
    """The pages were not what a login goes through."""


@dataclass(slots=True)
class Form:
    """One <form> with the names and values of its inputs."""

    action: str
    method: str
    inputs: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """Every form and every link of one HTML page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._open: Form | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "form":
            self._open = Form(attributes.get("action") or "", (attributes.get("method") or "get").lower())
            self.forms.append(self._open)
        elif tag in ("input", "button") and self._open is not None and attributes.get("name"):
            self._open.inputs[attributes["name"] or ""] = attributes.get("value") or ""
        elif tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def walk(
    session: requests.Session,
    url: str,
    *,
    stop_at: str,
    login: str = "alice",
    password: str = "any",
    abort_at: str | None = None,
) -> str:
    """Follow redirects and submit forms until the next hop begins with `stop_at`; return that URL, not fetched.

    `abort_at` 'login' or 'consent' takes that page's cancel link instead (the provider answers `access_denied`).
    """
    answer = session.get(url, allow_redirects=False, timeout=10)
    for _ in range(MOST_STEPS):
        if answer.is_redirect:
            next_url = urljoin(answer.url, answer.headers["location"])
            if next_url.startswith(stop_at):
                return next_url
            answer = session.get(next_url, allow_redirects=False, timeout=10)
            continue
        answer = _submit_page(session, answer, login=login, password=password, abort_at=abort_at)
    raise WalkError("too many steps")


def walk_to_form_post(session: requests.Session, url: str, *, stop_at: str, login: str = "alice") -> Form:
    """The same for `response_mode=form_post`: the form that the provider's last page would send to `stop_at`."""
    answer = session.get(url, allow_redirects=False, timeout=10)
    for _ in range(MOST_STEPS):
        if answer.is_redirect:
            answer = session.get(urljoin(answer.url, answer.headers["location"]), allow_redirects=False, timeout=10)
            continue
        for form in Page(answer.text).forms:
            if form.action.startswith(stop_at):
                return form
        answer = _submit_page(session, answer, login=login, password="any", abort_at=None)
    raise WalkError("too many steps")


def _submit_page(
    session: requests.Session, answer: requests.Response, *, login: str, password: str, abort_at: str | None
) -> requests.Response:
    if answer.status_code != 200 or "html" not in answer.headers.get("content-type", ""):
        raise WalkError(f"{answer.status_code} at {answer.url}: {answer.text[:400]}")
    page = Page(answer.text)
    form = next((form for form in page.forms if form.method == "post"), None)
    if form is None:
        raise WalkError(f"no form at {answer.url}: {answer.text[:400]}")
    prompt = form.inputs.get("prompt")
    if abort_at and prompt == abort_at:
        link = next(link for link in page.links if link.endswith("/abort"))
        return session.get(urljoin(answer.url, link), allow_redirects=False, timeout=10)
    fields = dict(form.inputs)
    if prompt == "login":
        fields.update(login=login, password=password)
    elif "xsrf" in fields:  # the page that asks whether to log out at the provider too
        fields["logout"] = "yes"
    return session.post(urljoin(answer.url, form.action), data=fields, allow_redirects=False, timeout=10)
