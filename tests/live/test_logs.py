"""No token, code, state, cookie, verifier or key is ever in a log (T21): the very values are looked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bff import Stack
from tests.support.browser_client import BrowserClient
from tests.support.log_lines import wait_for_lines

pytestmark = pytest.mark.live


def use_everything_well_and_badly(stack: Stack) -> None:
    """Login, calls, refusals and logout, with the secrets in every place where a log might pick them up."""
    alice = stack.log_in("alice")
    cookie = alice.session_cookie()
    for path in ("/api/crud/forms", "/api/profile/whoami", "/api/crud/whoami", "/nowhere/else"):
        alice.get(path)
    alice.get("/api/crud/forms", params={"token": cookie})
    alice.get("/api/crud/%2e%2e/forms")
    alice.post("/api/crud/forms", json={"title": "x"}, headers={"X-CSRF-Token": "wrong"})
    alice.get("/api/crud/forms", headers={"Cookie": f"bff_session={cookie}; bff_session=other"})
    alice.get("/api/crud/forms", headers={"Authorization": f"Bearer {cookie}", "Referer": f"https://x/?code={cookie}"})

    attacker = stack.open_browser()
    callback = alice.walk_to_callback("alice")
    attacker.navigate(callback, site="cross-site")  # another browser than the one that began
    alice.navigate(callback, site="cross-site")
    alice.navigate(callback, site="cross-site")  # and once more: its state is spent
    stack.op.fail("/token", status=500, times=1)
    alice.navigate(alice.walk_to_callback("alice"), site="cross-site")
    stack.op.mutate(id_token={"set": {"iss": "https://evil.example"}})
    alice.navigate(alice.walk_to_callback("alice"), site="cross-site")
    stack.op.clear_faults()

    alice.log_in("alice")
    logout_url = alice.log_out()
    assert logout_url is not None
    alice.navigate(logout_url)
    alice.navigate(logout_url)


def test_no_secret_is_in_any_log(stack: Stack) -> None:
    use_everything_well_and_badly(stack)
    assert len(stack.op.secrets("access_token")) >= 2
    assert len(stack.op.secrets("code_verifier")) >= 2
    assert len(stack.secrets()) > 20
    last = stack.open_browser().get("/health/live").headers["X-Correlation-ID"]
    stack.bff.child.wait_until(lambda: last in stack.bff.child.read_log(), timeout_seconds=10, what="the last record")
    assert "login.completed" in stack.bff.child.read_log()
    assert stack.find_leaks() == []


def test_no_key_is_in_any_log(stack: Stack) -> None:
    stack.log_in("alice")
    kept = [stack.bff.directory / "keys", stack.bff.state_directory]
    keys = {word for directory in kept for file in directory.rglob("*") if is_key_file(file) for word in words_of(file)}
    assert keys, "the BFF made keys at its first start"
    log = stack.bff.child.read_log()
    assert [key[:4] for key in keys if key in log] == []


def is_key_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 20_000 and "key" in str(path.relative_to(path.parents[1])).lower()


def words_of(path: Path) -> list[str]:
    """The private part of a JWK, or every line of a key ring."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except ValueError:
        return [line for line in text.split() if len(line) >= 40]
    return [value for name, value in flatten(content) if name == "d"]


def flatten(content: object) -> list[tuple[str, str]]:
    if isinstance(content, dict):
        own = [(name, value) for name, value in content.items() if isinstance(value, str)]
        return own + [pair for value in content.values() for pair in flatten(value)]
    if isinstance(content, list):
        return [pair for value in content for pair in flatten(value)]
    return []


def test_every_line_of_the_log_is_one_json_object_with_the_request_id(stack: Stack) -> None:
    with BrowserClient(stack.bff.origin) as nobody:
        answer = nobody.get("/api/crud/forms")
    request_id = answer.headers["X-Correlation-ID"]
    [record] = wait_for_lines([stack.bff.child.log_path], log="access", request_id=request_id)
    assert record["status"] == 401
    whole, _, _ = stack.bff.child.read_log().rpartition("\n")
    assert all(isinstance(json.loads(line), dict) for line in whole.splitlines())
