"""The demo's application in a real browser, through the real Traefik and two BFFs: all that a user does, and what the
browser holds meanwhile."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, expect

from demo.run import FRONTEND
from tests.browser.conftest import pass_provider, take_screenshot
from tests.browser.topology import DEVELOPMENT_PORT, Topology, topology
from tests.support.processes import wait_until

__all__ = ["topology"]

pytestmark = [pytest.mark.live, pytest.mark.browser]

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def open_profile(chromium: Browser, *, scheme: str = "light") -> BrowserContext:
    return chromium.new_context(color_scheme="dark" if scheme == "dark" else "light", accept_downloads=True)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = open_profile(chromium)
    yield context.new_page()
    context.close()


def log_in(page: Page, topology: Topology, user: str = "alice") -> None:
    page.goto(f"{topology.origin}/")
    page.get_by_role("button", name="Log in", exact=True).click()
    pass_provider(page, user)
    page.wait_for_url(f"{topology.origin}/forms")
    expect(page.get_by_test_id("user")).to_have_text(user.capitalize())


def create_form(page: Page, topology: Topology, title: str) -> None:
    page.goto(f"{topology.origin}/forms/new")
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name=title)).to_be_visible()


@dataclass
class Trace:
    """All that a browser sent, got, printed and kept."""

    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self.requests.append(request))
        context.on("response", lambda response: self.responses.append(response))
        context.on("console", lambda message: self.console.append(message.text))
        context.on("weberror", lambda error: self.console.append(str(error.error)))

    def tell(self, context: BrowserContext, pages: list[Page]) -> str:
        told = [f"{request.url} {request.all_headers()} {request.post_data or ''}" for request in self.requests]
        told += [f"{answer.url} {answer.all_headers()}" for answer in self.responses]
        told += [read_body(answer) for answer in self.responses]
        told += [json.dumps(context.storage_state(indexed_db=True)), *self.console]
        told += [page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])") for page in pages]
        return "\n".join(told)


def read_body(answer: Response) -> str:
    kind = answer.headers.get("content-type", "")
    if not kind.startswith(("application/json", "application/problem+json", "text/html")) or answer.status in (
        302,
        303,
    ):
        return ""
    try:
        return answer.text()
    except Exception:  # noqa: BLE001  a page that was left takes its bodies with it
        return ""


def test_a_user_works_and_no_token_reaches_the_browser(topology: Topology, page: Page) -> None:
    context, trace = page.context, Trace()
    trace.watch(context)
    page.goto(f"{topology.origin}/forms")
    pass_provider(page, "alice")
    page.wait_for_url(f"{topology.origin}/forms")

    page.get_by_role("link", name="New form").click()
    page.get_by_label("Title").fill("A walk through")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="A walk through").click()
    page.get_by_label("Title").fill("A walk, edited")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="A walk, edited")).to_be_visible()

    page.get_by_role("link", name="Files").click()
    content = {"name": "a.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 300_000}
    page.get_by_label("File").set_input_files(content)  # type: ignore[arg-type]
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("300000 bytes arrived.")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="Download 8 MiB").click()
    assert started.value.path().stat().st_size == 8 * 1024 * 1024

    page.get_by_role("link", name="Live feed").click()
    expect(page.get_by_text("open", exact=True)).to_be_visible()
    page.get_by_role("button", name="Greet everybody").click()
    expect(page.get_by_role("list", name="Events")).to_contain_text("Hello, everybody")

    second = context.new_page()
    second.goto(f"{topology.origin}/forms")
    second.get_by_role("button", name="Delete A walk, edited").click()
    expect(page.get_by_role("list", name="Events")).to_contain_text("form.deleted")

    cookies = {cookie["name"]: cookie for cookie in context.cookies(topology.origin)}
    assert set(cookies) == {"bff_session", "bff_csrf"}, "plain http; over https the names have their prefixes"
    assert cookies["bff_session"]["httpOnly"]
    assert cookies["bff_session"]["sameSite"] == "Strict"
    assert (cookies["bff_session"]["path"], cookies["bff_session"]["expires"]) == ("/", -1)
    assert not cookies["bff_csrf"]["httpOnly"]

    everything = trace.tell(context, [page, second])
    assert "A walk, edited" in everything, "bodies are in what is searched"
    kinds = ("access_token", "refresh_token", "id_token", "code_verifier", "client_assertion")
    passed = topology.op.secrets(*kinds)
    assert len(passed) >= 4
    assert [secret[:6] for secret in passed if secret in everything] == []

    second.get_by_role("button", name="Log out").click()
    second.get_by_role("button", name="Yes, sign me out").click()
    second.wait_for_url(f"{topology.origin}/")
    expect(page.get_by_test_id("user")).to_have_text("not logged in")
    expect(page.get_by_role("list", name="Events")).to_have_count(0)
    second.go_back()
    second.go_back()
    # No private page comes back: the application asks who is there, and leads to the login.
    expect(second.locator("input[name=login]")).to_be_visible()
    assert [line for line in trace.console if "Content Security Policy" in line or "Uncaught" in line] == []


def test_who_may_not_sees_no_button_and_a_page_that_says_so(topology: Topology, chromium: Browser) -> None:
    alice, bob = (open_profile(chromium).new_page() for _ in range(2))
    log_in(alice, topology)
    create_form(alice, topology, "Of alice")
    log_in(bob, topology, "bob")
    expect(bob.get_by_role("link", name="Of alice")).to_be_visible()
    expect(bob.get_by_text("You may read forms.")).to_be_visible()
    assert bob.get_by_role("button", name=re.compile("Delete")).count() == 0
    bob.goto(f"{topology.origin}/forms/new")
    expect(bob.get_by_role("heading", name="You may not do this")).to_be_visible()
    take_screenshot(bob, "spa-denied")
    called = bob.evaluate(
        """async () => {
             const {csrf_token} = await (await fetch('/api/auth/session')).json();
             const headers = {'Content-Type': 'application/json', 'X-CSRF-Token': csrf_token};
             const answer = await fetch('/api/crud/forms', {method: 'POST', headers, body: '{"title": "x"}'});
             return [answer.status, answer.headers.get('X-BFF-Error')]; }"""
    )
    assert called == [403, "access_denied"], "past the page too"
    for someone in (alice, bob):
        someone.context.close()


def test_the_login_comes_back_to_the_page_that_wanted_it(topology: Topology, page: Page) -> None:
    page.goto(f"{topology.origin}/sessions?tab=all#here")
    pass_provider(page, "bob")
    page.wait_for_url(f"{topology.origin}/sessions?tab=all#here")
    expect(page.get_by_text("This browser")).to_be_visible()


def test_a_session_that_ended_comes_back_without_a_password(topology: Topology, page: Page) -> None:
    log_in(page, topology)
    page.get_by_role("link", name="Files").click()
    before = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(topology.origin)}
    page.context.clear_cookies(name="bff_session")
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_text("This browser")).to_be_visible()
    assert page.url == f"{topology.origin}/sessions"
    after = {cookie["name"]: cookie["value"] for cookie in page.context.cookies(topology.origin)}
    assert after["bff_session"] != before["bff_session"]


def test_the_dialog_before_the_end_keeps_the_session(topology: Topology, page: Page) -> None:
    log_in(page, topology)

    def shorten(route: object, request: Request) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        route.fulfill(response=answer, json={**answer.json(), "expires_in": 90})  # type: ignore[attr-defined]

    address = re.compile(r"/api/auth/session(\?.*)?$")
    page.route(address, shorten)
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.get_by_role("dialog")).to_contain_text("Are you still there?")
    take_screenshot(page, "spa-expiry")
    check_accessibility(page)
    page.unroute(address)
    with page.expect_response(lambda answer: answer.url.endswith("/api/auth/session/refresh")) as renewed:
        page.get_by_role("button", name="Stay logged in").click()
    assert renewed.value.status == 200
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_another_browser_can_be_logged_out_from_here(topology: Topology, chromium: Browser) -> None:
    here, there = (open_profile(chromium).new_page() for _ in range(2))
    log_in(there, topology, "carol")
    log_in(here, topology, "carol")
    here.get_by_role("link", name="Sessions").click()
    here.get_by_role("button", name="End", exact=True).first.click()
    expect(here.get_by_role("button", name="End", exact=True)).to_have_count(0)
    assert there.evaluate("async () => (await fetch('/api/crud/forms')).status") == 401
    for someone in (here, there):
        someone.context.close()


def test_a_login_begun_on_one_instance_ends_on_the_other(topology: Topology, page: Page) -> None:
    log_in(page, topology)
    for _ in range(8):
        page.goto(f"{topology.origin}/auth/login?return_to=/files")
        page.wait_for_url(f"{topology.origin}/files")
        expect(page.get_by_test_id("user")).to_have_text("Alice")
        if find_instance(topology, "/auth/login") != find_instance(topology, "/auth/callback"):
            return
    pytest.fail("The edge sent every login to one instance only.")


def find_instance(topology: Topology, path: str) -> int:
    """Which instance answered the latest call to this path."""
    latest = []
    for number, bff in enumerate(topology.bffs):
        lines = [json.loads(line) for line in bff.child.read_log().splitlines() if f'"path":"{path}"' in line]
        latest += [(line["time"], number) for line in lines if line["log"] == "access"]
    return max(latest)[1]


def check_accessibility(page: Page) -> None:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document)).violations")
    told = [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]
    assert told == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_telephone(topology: Topology, chromium: Browser, scheme: str) -> None:
    context = open_profile(chromium, scheme=scheme)
    page = context.new_page()
    page.goto(f"{topology.origin}/")
    expect(page.get_by_test_id("user")).to_have_text("not logged in")
    look_at(page, f"spa-start-{scheme}")
    log_in(page, topology, "carol")
    create_form(page, topology, f"A {scheme} form with a rather long title that has to wrap somewhere on a telephone")
    for path, name in {
        "/": "home",
        "/forms": "forms",
        "/forms/new": "form",
        "/feed": "feed",
        "/files": "files",
        "/sessions": "sessions",
        "/nowhere": "not-found",
    }.items():
        page.goto(f"{topology.origin}{path}")
        expect(page.get_by_test_id("user")).to_have_text("Carol")
        page.wait_for_load_state("load")
        expect(page.get_by_text("One moment")).to_have_count(0)
        look_at(page, f"spa-{name}-{scheme}")
    context.close()


def look_at(page: Page, name: str) -> None:
    for width in (1100, 360):
        page.set_viewport_size({"width": width, "height": 760})
        check_accessibility(page)
        take_screenshot(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} at {width}"


def test_the_development_server_works_across_origins(topology: Topology, page: Page) -> None:
    """The application as `npm run dev` has it: on an origin of its own, the BFF's address in its settings."""
    log_in(page, topology)
    with serving(build_development_files(topology)):
        page.goto(f"{topology.development_origin}/forms")
        expect(page.get_by_test_id("user")).to_have_text("Alice")
        page.get_by_role("link", name="New form").click()
        page.get_by_label("Title").fill("From the development server")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("link", name="From the development server")).to_be_visible()
        page.get_by_role("link", name="Live feed").click()
        expect(page.get_by_text("open", exact=True)).to_be_visible()


def build_development_files(topology: Topology) -> dict[str, tuple[str, str]]:
    """The built files, with the address that Vite would put in from `VITE_BFF_BASE_URL`."""
    files = {"/": ("text/html", (FRONTEND / "index.html").read_text(encoding="utf-8"))}
    for path in (FRONTEND / "assets").iterdir():
        kind = "text/css" if path.suffix == ".css" else "text/javascript"
        text = path.read_text(encoding="utf-8")
        files[f"/assets/{path.name}"] = (kind, text.replace('baseUrl:"/api"', f'baseUrl:"{topology.origin}/api"'))
    return files


@contextmanager
def serving(files: dict[str, tuple[str, str]]) -> Iterator[None]:
    """A server for the files, and for the index at every other path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, text = files.get(urlsplit(self.path).path, files["/"])
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", DEVELOPMENT_PORT), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_one_instance_may_be_killed_in_the_middle(topology: Topology, page: Page) -> None:
    log_in(page, topology)
    create_form(page, topology, "Before the end of one")
    topology.bffs[1].child.kill()
    wait_until(
        lambda: all(page.evaluate("async () => (await fetch('/api/crud/forms')).status") == 200 for _ in range(4)),
        timeout_seconds=20,
        what="the edge to leave the dead instance alone",
    )
    page.reload()
    expect(page.get_by_role("link", name="Before the end of one")).to_be_visible()
    create_form(page, topology, "After the end of one")
    expect(page.get_by_test_id("user")).to_have_text("Alice")
