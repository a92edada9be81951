"""What pages of other sites can do with a logged-in browser: nothing (B1, B2, L13); and what allowed ones can."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import FRONTEND_PORT, Site, log_in
from tests.support.processes import free_port

pytestmark = [pytest.mark.live, pytest.mark.browser]

CALL_WITH_COOKIES = """async ([url, options]) => {
  try {
    const answer = await fetch(url, {credentials: 'include', ...options});
    return {status: answer.status, code: answer.headers.get('X-BFF-Error'), body: await answer.text()};
  } catch (error) { return {blocked: String(error)}; }
}"""


@contextmanager
def another_site(port: int) -> Iterator[None]:
    """A server whose every answer is an empty page; tests write into it what its owner would."""

    class EmptyPage(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"<!doctype html><title>another site</title><body></body>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), EmptyPage) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def count_forms(page: Page, site: Site) -> int:
    page.goto(f"{site.origin}/")
    expect(page.locator("#user")).to_have_text("Alice")
    count: int = page.evaluate("async () => (await (await fetch('/api/crud/forms')).json()).forms.length")
    return count


# 127.0.0.1 is another site than localhost, as evil.example is; localhost on another port is the same site, as a
# sibling subdomain is, and gets the Strict cookie sent along.
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another-site", "sibling-origin"])
def test_a_page_elsewhere_can_change_nothing_and_read_nothing(
    site: Site, page: Page, context: BrowserContext, host: str
) -> None:
    log_in(page, site)
    forms_before = count_forms(page, site)
    port = free_port()
    with another_site(port):
        attack = context.new_page()
        attack.goto(f"http://{host}:{port}/")
        as_text = {"method": "POST", "headers": {"Content-Type": "text/plain"}, "body": '{"title": "attack"}'}
        for options in ({}, as_text):
            result = attack.evaluate(CALL_WITH_COOKIES, [f"{site.origin}/api/crud/forms", options])
            assert "blocked" in result, "no CORS headers, so its script reads nothing"
        attack.evaluate(
            """([url]) => new Promise((resolve) => {
                 const image = new Image(); image.onload = image.onerror = resolve; image.src = url; })""",
            [f"{site.origin}/auth/logout"],
        )
        attack.evaluate(
            """([url]) => {
                 const form = document.createElement('form');
                 form.method = 'POST'; form.enctype = 'text/plain'; form.action = url;
                 form.innerHTML = '<input name=\\'{"title": "attack", "x": "\\' value=\\'"}\\'>';
                 document.body.append(form); form.submit(); }""",
            [f"{site.origin}/api/crud/forms"],
        )
        attack.wait_for_url(f"{site.origin}/**")
        expect(attack.locator("body")).to_contain_text('"code"')
        assert any(code in (attack.text_content("body") or "") for code in ("csrf_failed", "not_authenticated"))
    assert count_forms(page, site) == forms_before, "still logged in, and nothing was created"


def test_a_development_origin_works_with_credentials_and_reads_errors(
    site: Site, page: Page, context: BrowserContext
) -> None:
    log_in(page, site)
    with another_site(FRONTEND_PORT):
        frontend = context.new_page()
        frontend.goto(f"http://localhost:{FRONTEND_PORT}/")
        session = frontend.evaluate(
            "async (url) => (await fetch(url, {credentials: 'include'})).json()", f"{site.origin}/api/auth/session"
        )
        assert session["user"]["id"] == "alice"

        create = {
            "method": "POST",
            "headers": {"Content-Type": "application/json", "X-CSRF-Token": session["csrf_token"]},
            "body": '{"title": "from the development server"}',
        }
        created = frontend.evaluate(CALL_WITH_COOKIES, [f"{site.origin}/api/crud/forms", create])
        assert created["status"] == 201, created

        del create["headers"]["X-CSRF-Token"]  # type: ignore[attr-defined]
        refused = frontend.evaluate(CALL_WITH_COOKIES, [f"{site.origin}/api/crud/forms", create])
        assert (refused["status"], refused["code"]) == (403, "csrf_failed")
        missing = frontend.evaluate(CALL_WITH_COOKIES, [f"{site.origin}/api/nowhere", {}])
        assert missing["status"] == 404

        context.clear_cookies()
        logged_out = frontend.evaluate(CALL_WITH_COOKIES, [f"{site.origin}/api/crud/forms", {}])
        assert (logged_out["status"], logged_out["code"]) == (401, "not_authenticated")
