"""`make demo`, as somebody runs it: it starts, a user logs in, everything stops, and what is in the way is named."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from demo.processes import start_child
from tests.support.browser_client import BrowserClient
from tests.support.demo import COMMAND, PROJECT, build_demo_environment, descendants_of, is_running
from tests.support.log_lines import wait_for_lines
from tests.support.opwalk import walk
from tests.support.processes import Child, minimal_environment, wait_until

pytestmark = pytest.mark.live


def registered_client(tmp_path: Path) -> str:
    """What the BFF got when it registered itself, once for both workers."""
    [registered] = wait_for_lines([tmp_path / "logs" / "bff.log"], event="client.registered")
    return str(registered["client_id"])


def test_a_user_logs_in_at_the_demo_and_works_with_forms(demo: Child, ports: dict[str, int], tmp_path: Path) -> None:
    with BrowserClient(f"http://localhost:{ports['DEMO_PORT']}") as alice:
        page = alice.navigate("/", site="none")
        assert page.status_code == 200
        assert "<title>BFF demo</title>" in page.text
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert alice.get("/api/crud/forms").status_code == 401
        assert alice.get("/api/crud/fomrs").headers["X-BFF-Error"] == "route_not_found", "a mistyped path is ours"
        [script] = re.findall(r'src="(/assets/[^"]+)"', page.text)
        assert "immutable" in alice.get(script).headers["Cache-Control"]
        assert alice.navigate("/forms/new").text == page.text, "the application's own addresses"

        alice.log_in("alice")
        session = alice.get_session().json()
        assert session["user"]["id"] == "alice"
        assert session["user"]["name"] == "Alice"
        assert session["user"]["roles"] == ["editor", "user"]

        created = alice.post("/api/crud/forms", json={"title": "A form", "kind": "note"})
        assert created.status_code == 201, created.text
        assert created.headers["Location"].endswith(f"/api/crud/forms/{created.json()['id']}")
        assert created.json()["owner"] == "alice"
        assert [form["title"] for form in alice.get("/api/crud/forms").json()["forms"]] == ["A form"]

        with_service_token = alice.get("/api/crud/whoami").json()
        assert with_service_token["authorization"]["claims"]["aud"] == "urn:test:api:crud"
        assert with_service_token["authorization"]["claims"]["client_id"] == registered_client(tmp_path)
        assert with_service_token["headers"]["X-Original-User"] == "auth:account:demo:alice"
        assert alice.get("/api/profile/whoami").json()["authorization"]["scheme"] == "Bearer"

        assert alice.log_out() is not None
        assert not alice.is_logged_in()

        alice.log_in("alice")
        provider, back = f"http://127.0.0.1:{ports['DEMO_IDP_PORT']}", f"{alice.origin}/auth/logged-out"
        query = {"client_id": registered_client(tmp_path), "post_logout_redirect_uri": back}
        logout = f"{provider}/session/end?{urlencode(query)}"
        walk(alice.http, logout, stop_at=back)
        wait_until(lambda: not alice.is_logged_in(), timeout_seconds=10, what="the provider's word")


def test_commands_in_another_terminal_work_on_the_demo(demo: Child, ports: dict[str, int], tmp_path: Path) -> None:
    bff = Path(sys.executable).with_name("bff")

    def run(command: str) -> str:
        script = f". {shlex.quote(str(tmp_path / 'logs' / 'bff.env'))} && exec {shlex.quote(str(bff))} {command}"
        return subprocess.run(
            ["/bin/sh", "-c", script],
            env=minimal_environment(),
            cwd=PROJECT,
            check=True,
            text=True,
            capture_output=True,
            timeout=60,
        ).stdout

    with BrowserClient(f"http://localhost:{ports['DEMO_PORT']}") as bob:
        bob.log_in("bob")
        doctor = run("doctor")
        assert "All that the BFF needs is there." in doctor
        assert "registered by the BFF itself" in doctor
        assert "decides" in doctor
        assert "\tbob\t" in run("sessions list")
        assert run("sessions end --user bob --yes") == "1 session ended.\n"
        wait_until(lambda: not bob.is_logged_in(), timeout_seconds=10, what="the operator's word")
    written = (tmp_path / "logs" / "bff.env").read_text(encoding="utf-8")
    assert not re.search("IAT|SECRET|TOKEN", written)


CALLS = (
    ("read all", "GET", "/api/crud/forms"),
    ("create one", "POST", "/api/crud/forms"),
    ("read alice's", "GET", "/api/crud/forms/alice-1"),
    ("change alice's", "PUT", "/api/crud/forms/alice-1"),
    ("delete alice's", "DELETE", "/api/crud/forms/alice-1"),
)
PEOPLE = ("nobody", "bob", "carol", "alice")


def test_each_user_may_do_what_the_documentation_says(demo: Child, ports: dict[str, int]) -> None:
    with ExitStack() as stack:
        browsers = {}
        for name in PEOPLE:
            browsers[name] = stack.enter_context(BrowserClient(f"http://localhost:{ports['DEMO_PORT']}"))
            if name != "nobody":
                browsers[name].log_in(name)
        created = browsers["alice"].post("/api/crud/forms", json={"title": "The first", "kind": "note"})
        assert created.json()["id"] == "alice-1"
        lines = [f"| what | call | {' | '.join(PEOPLE)} |", "|---" * (2 + len(PEOPLE)) + "|"]
        for what, method, path in CALLS:
            body = {"title": "Another", "kind": "note"} if method in ("POST", "PUT") else None
            answers = [browsers[name].call(method, path, json=body) for name in PEOPLE]
            told = [f"{answer.status_code} {answer.headers.get('X-BFF-Error', '')}".strip() for answer in answers]
            lines.append(f"| {what} | `{method} {path}` | {' | '.join(told)} |")
    table = "\n".join(lines)
    print(table)  # noqa: T201  for whoever changes the documentation
    page = (PROJECT / "docs" / "explanation" / "authorization.md").read_text(encoding="utf-8")
    assert table in page


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_of_the_demo_outlives_it(demo: Child, number: signal.Signals) -> None:
    started = descendants_of(demo.pid)
    assert len(started) >= 6, "a provider, a decision point, a backend with a worker, the BFF with workers"
    os.kill(demo.pid, number)
    wait_until(lambda: not demo.is_running(), timeout_seconds=30, what="the end of the demo")
    wait_until(lambda: not any(map(is_running, started)), timeout_seconds=30, what="the end of all it started")
    if number != signal.SIGKILL:
        assert demo.popen.returncode == 0
        assert "The demo has stopped." in demo.read_log()


def test_a_part_that_ends_takes_the_demo_with_it(demo: Child) -> None:
    started = descendants_of(demo.pid)
    for pid in started:
        if b"demo/crud_service_gunicorn.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not demo.is_running(), timeout_seconds=30, what="the end of the demo")
    assert demo.popen.returncode == 1
    assert "backend ended" in demo.read_log()
    wait_until(lambda: not any(map(is_running, started)), timeout_seconds=30, what="the end of all it started")


def run_to_its_end(tmp_path: Path, environment: dict[str, str]) -> tuple[int, str]:
    child = start_child("demo", COMMAND, log_path=tmp_path / "demo.log", environment=environment, directory=PROJECT)
    wait_until(lambda: not child.is_running(), timeout_seconds=30, what="the end of the demo")
    return child.stop(), child.read_log()


def test_every_taken_port_is_named_with_the_variable_that_chooses_another(
    ports: dict[str, int], tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", ports["DEMO_PORT"])),
        socket.create_server(("127.0.0.1", ports["DEMO_IDP_PORT"])),
    ):
        status, said = run_to_its_end(tmp_path, build_demo_environment(ports, tmp_path))
    assert status == 1
    assert f"Port {ports['DEMO_PORT']} is taken. Choose another one: make demo DEMO_PORT=" in said
    assert f"Port {ports['DEMO_IDP_PORT']} is taken. Choose another one: make demo DEMO_IDP_PORT=" in said
    assert "Traceback" not in said


def test_a_missing_node_is_said_in_a_sentence(ports: dict[str, int], tmp_path: Path) -> None:
    status, said = run_to_its_end(tmp_path, {**build_demo_environment(ports, tmp_path), "PATH": str(tmp_path)})
    assert status == 1
    assert "Node is missing" in said
    assert "Traceback" not in said


def test_a_part_that_cannot_start_is_named_with_its_log(ports: dict[str, int], tmp_path: Path) -> None:
    status, said = run_to_its_end(tmp_path, build_demo_environment(ports, tmp_path, BFF_OIDC__CLIENT_AUTH="magic"))
    assert status == 1
    assert "BFF ended with status" in said
    assert "client_auth" in said
