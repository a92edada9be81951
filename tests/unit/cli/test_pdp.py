"""`bff pdp`: what it does beside running workers, and how it says that it cannot."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.services.decision_epoch import DecisionEpoch
from app.services.state_store.directory import DirectoryStateStore
from tests.support.processes import free_port
from tests.unit.settings.config_folder import ConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    folder = ConfigFolder(tmp_path / "config")
    folder.path.mkdir()
    folder.change("session.directory", str(tmp_path / "state"))
    return folder


def run(folder: ConfigFolder, *arguments: str) -> Result:
    return CliRunner(env={"BFF_CONFIG_DIR": str(folder.write())}).invoke(main, ["pdp", *arguments])


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
    assert (told["event"], told["by"]) == ("decisions.forgotten", "operator")


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
