"""`bff sessions` where something is wrong: how it says that it cannot, and how far it came."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.services.key_ring import build_default_key_file
from app.services.state_store import private_files
from app.services.state_store.directory import DirectoryStateStore
from tests.unit.cli.sessions_world import Bff, bff

__all__ = ["bff"]


def test_a_faulty_configuration_is_told_as_the_check_tells_it(bff: Bff) -> None:
    bff.config.change("environment", "test")
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert result.exit_code == 1
        assert "environment: found 'test'" in result.stdout


def test_a_folder_that_is_not_there_is_told_and_not_made(bff: Bff, tmp_path: Path) -> None:
    bff.config.change("session.directory", str(tmp_path / "nowhere"))
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"There is no folder {tmp_path / 'nowhere'}" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_another_user_is_told_whom_to_be(bff: Bff, monkeypatch: pytest.MonkeyPatch) -> None:
    """What that user would write, the workers could not read."""
    bff.log_in()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    result = bff.run("end", "--all", "--yes")
    assert result.exit_code == 1
    assert f"belongs to user id {owner}, and this is user id {owner + 1}" in result.stderr


def test_a_folder_that_others_may_write_to_is_not_used(bff: Bff) -> None:
    bff.state_directory.chmod(0o777)
    result = bff.run("list")
    assert result.exit_code == 1
    assert "can be written to by others" in result.stderr
    bff.state_directory.chmod(private_files.FOLDER_MODE)
    assert stat.S_IMODE(bff.state_directory.stat().st_mode) == 0o700


def test_a_store_that_fails_in_the_middle_says_how_far_it_came(bff: Bff, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        bff.log_in()
    really_put: Callable[..., None] = DirectoryStateStore.put
    ended: list[str] = []

    def put(self: DirectoryStateStore, key: str, *arguments: object) -> None:
        ended.append(key)
        if len(ended) > 2:
            monkeypatch.setattr("app.services.state_store.record_files.RecordFiles.find", fail)
            bff_find(key)
        really_put(self, key, *arguments)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def bff_find(key: str) -> None:
        DirectoryStateStore.find(bff.state, key)

    monkeypatch.setattr(DirectoryStateStore, "put", put)
    result = bff.run("end", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 sessions ended, then the store failed: " in result.stderr
    assert "No space left on device" in result.stderr


def test_without_the_key_file_the_command_says_so_and_makes_none(bff: Bff) -> None:
    bff.log_in()
    key_file = build_default_key_file(bff.state_directory)
    key_file.rename(key_file.with_suffix(".away"))
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"The key file {key_file} cannot be read: No such file or directory.\n"
    assert not key_file.exists()
