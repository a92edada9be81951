"""`bff pdp`: what it does beside running workers, and how it says that it cannot."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.services.decision_epoch import DecisionEpoch
from app.services.state_store.directory import DirectoryStateStore
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.processes import free_port
from tests.unit.settings.config_folder import ConfigFolder

SECRET = "a-key-that-nobody-may-see"


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    folder = ConfigFolder(tmp_path / "config")
    folder.path.mkdir()
    folder.change("session.directory", str(tmp_path / "state"))
    return folder


def run(folder: ConfigFolder, *arguments: str) -> Result:
    return CliRunner(env={"BFF_CONFIG_DIR": str(folder.write())}).invoke(main, ["pdp", *arguments])


# check


@pytest.fixture(scope="module")
def shared_pdp() -> Iterator[AuthzenPdp]:
    with AuthzenPdp() as started:
        yield started


@pytest.fixture
def point(shared_pdp: AuthzenPdp, folder: ConfigFolder) -> AuthzenPdp:
    """A decision point, and one route that asks it."""
    shared_pdp.requests.clear()
    shared_pdp.questions.clear()
    shared_pdp.answer, shared_pdp.identifier = None, ""
    shared_pdp.has_metadata = shared_pdp.has_batches = True
    shared_pdp.decide, shared_pdp.explain = lambda _: True, lambda _: None
    folder.change_route(
        id="forms", authz="pdp", methods=["GET"], authz_map={"GET": {"resource": "form", "action": "read"}}
    )
    folder.pdp = {
        "connection": {"base_url": shared_pdp.url, "auth": "api_key", "api_key": SECRET, "timeout": 1},
        "retry": {"max_retries": 0},
        "subject_claims": ["roles"],
        "context": ["acr"],
    }
    return shared_pdp


def check(folder: ConfigFolder, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit status, and outcome and text of each step by its name."""
    result = run(folder, "check", "--json", *arguments)
    document = json.loads(result.stdout)
    assert document["ok"] is (result.exit_code == 0)
    return result.exit_code, {step["name"]: (step["outcome"], step["told"]) for step in document["steps"]}


def test_one_that_decides_is_told_step_by_step(folder: ConfigFolder, point: AuthzenPdp) -> None:
    result = run(folder, "check")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(None, 2) for line in result.stdout.splitlines()]
    names = ["connection", "credentials", "metadata", "question", "decision", "batch"]
    assert [line[:2] for line in lines[:-1]] == [[name, "ok"] for name in names]
    assert lines[4][2].startswith("allowed, in ")
    assert " ".join(lines[-1]) == "The decision point decides."
    assert SECRET not in result.output


def test_the_sample_is_what_a_mapping_names_or_what_is_asked_for(
    folder: ConfigFolder, point: AuthzenPdp, tmp_path: Path
) -> None:
    assert check(folder)[0] == 0
    assert point.questions[0] == {
        "subject": {"type": "user", "id": "sample-user", "properties": {"roles": []}},
        "action": {"name": "read"},
        "resource": {"type": "form", "id": "*"},
    }
    (tmp_path / "bob.json").write_text(json.dumps({"sub": "bob", "roles": ["user"], "acr": "gold"}))
    point.questions.clear()
    arguments = ["--as", str(tmp_path / "bob.json"), "--action", "delete", "--resource", "note", "--id", "7"]
    status, steps = check(folder, *arguments)
    assert status == 0
    assert (
        point.questions[0]
        == json.loads(steps["question"][1])
        == {
            "subject": {"type": "user", "id": "bob", "properties": {"roles": ["user"]}},
            "action": {"name": "delete"},
            "resource": {"type": "note", "id": "7"},
            "context": {"acr": "gold"},
        }
    )


def test_a_refusal_is_a_decision_too(folder: ConfigFolder, point: AuthzenPdp) -> None:
    point.decide, point.explain = (
        lambda _: False,
        lambda _: {"reason_user": "Not \x1b[31m you.", "reason_admin": "policy-17"},
    )
    result = run(folder, "check")
    assert result.exit_code == 0
    assert "denied: Not [31m you., in" in result.stdout
    assert "policy-17" not in result.output


@pytest.mark.parametrize(("has_metadata", "has_batches", "step"), [(False, True, "metadata"), (True, False, "batch")])
def test_what_it_need_not_have_is_a_note(
    folder: ConfigFolder, point: AuthzenPdp, has_metadata: bool, has_batches: bool, step: str
) -> None:
    point.has_metadata, point.has_batches = has_metadata, has_batches
    status, steps = check(folder)
    assert (status, steps[step][0], steps["decision"][0]) == (0, "note", "ok")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, "text/plain", b""), "answers 401"),
        ((200, "text/html", b"<p>yes</p>"), "not plain JSON"),
        ((200, "application/json", b'{"decision": "true"}'), "not true or false"),
        ((404, "text/plain", b""), "answers 404"),
    ],
)
def test_one_that_does_not_decide_fails(
    folder: ConfigFolder, point: AuthzenPdp, answer: tuple[int, str, bytes], told: str
) -> None:
    point.answer = answer
    status, steps = check(folder)
    assert (status, steps["decision"][0]) == (1, "failed")
    assert told in steps["decision"][1]
    assert "503" in run(folder, "check").stdout


def test_metadata_of_another_one_fail(folder: ConfigFolder, point: AuthzenPdp) -> None:
    point.identifier = "https://other.example"
    status, steps = check(folder)
    assert (status, steps["metadata"][0], "decision" in steps) == (1, "failed", False)
    assert point.questions == []


def test_one_that_is_down_fails(folder: ConfigFolder, point: AuthzenPdp) -> None:
    assert folder.pdp is not None
    folder.pdp["connection"]["base_url"] = f"http://127.0.0.1:{free_port()}"
    status, steps = check(folder)
    assert (status, steps["metadata"][0]) == (1, "failed")
    assert "cannot be reached" in steps["metadata"][1]


def test_credentials_that_cannot_be_had_fail(folder: ConfigFolder, point: AuthzenPdp) -> None:
    assert folder.pdp is not None
    token_url = f"http://127.0.0.1:{free_port()}/token"
    client = {"auth": "client_credentials", "client_id": "bff", "client_secret": SECRET, "token_url": token_url}
    folder.pdp["connection"] = {"base_url": point.url, **client}
    folder.change("environment", "development")
    status, steps = check(folder)
    assert (status, steps["credentials"][0]) == (1, "failed")


def test_enforcement_that_is_off_is_a_note(folder: ConfigFolder, point: AuthzenPdp) -> None:
    folder.change("pdp.enabled", False)
    assert check(folder)[1]["connection"][0] == "note"


def test_without_a_decision_point_there_is_nothing_to_try(folder: ConfigFolder) -> None:
    result = run(folder, "check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "connection.base_url" in result.stderr


# forget


def test_every_decision_is_forgotten(folder: ConfigFolder, tmp_path: Path) -> None:
    worker = DecisionEpoch(DirectoryStateStore(tmp_path / "state", time.time), local_cache_seconds=60, clock=time.time)
    before = worker.get()
    result = run(folder, "forget")
    assert result.exit_code == 0
    assert "on every node" in result.stdout
    assert worker.get() != before


def test_what_is_forgotten_is_in_the_audit_file(folder: ConfigFolder, tmp_path: Path) -> None:
    DirectoryStateStore(tmp_path / "state", time.time)
    folder.change("logging.audit_sink", str(tmp_path / "audit.log"))
    assert run(folder, "forget").exit_code == 0
    told = json.loads((tmp_path / "audit.log").read_text())
    assert (told["event"], told["by"]) == ("decisions.dropped", "operator")


def test_a_store_that_is_not_there_is_told(folder: ConfigFolder) -> None:
    result = run(folder, "forget")
    assert result.exit_code == 1
    assert "There is no folder" in result.stderr
    assert "Forgotten" not in result.stdout


def test_a_redis_that_is_down_is_told(folder: ConfigFolder, tmp_path: Path) -> None:
    folder.change("session.store", "redis")
    folder.change("session.redis_url", f"redis://127.0.0.1:{free_port()}")
    folder.change("session.redis", {"retries": 0, "timeout_seconds": 0.2})
    key_file = tmp_path / "data.keys"
    key_file.write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    key_file.chmod(0o600)
    folder.change("tokens.data_key_file", str(key_file))
    result = run(folder, "forget")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be reached" in result.stderr
