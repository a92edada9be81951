"""A BFF's store with sessions in it, and `bff sessions` beside it: what the tests of the command share."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.services.key_ring import build_default_key_file, load_or_create_key_ring
from app.services.session_store import SessionRecord, SessionStore
from app.services.state_store.directory import DirectoryStateStore
from tests.unit.services.session_store.support import build_login, build_settings
from tests.unit.settings.config_folder import ConfigFolder


class Bff:
    """The store of a BFF, its configuration, and the command beside it."""

    def __init__(self, directory: Path) -> None:
        self.state_directory = directory / "state"
        self.config = ConfigFolder(directory / "config")
        self.config.path.mkdir()
        self.config.change("session.directory", str(self.state_directory))
        self.state = DirectoryStateStore(self.state_directory, self.clock)
        self.key_ring = load_or_create_key_ring(build_default_key_file(self.state_directory))
        self.store = SessionStore(self.state, self.key_ring, settings=build_settings(), clock=self.clock)
        self.seconds_ago = 0.0

    def clock(self) -> float:
        return time.time() - self.seconds_ago

    def log_in(self, user_id: str = "alice", device: str = "Firefox", seconds_ago: float = 0) -> tuple[str, str]:
        """Id and reference of a new session."""
        self.seconds_ago = seconds_ago
        session_id, record = self.store.create(build_login(user_id=user_id, device=device))
        self.seconds_ago = 0
        return session_id, record.reference

    def find(self, session_id: str) -> SessionRecord | None:
        return self.store.find(session_id)

    def run(self, *arguments: str, answer: str = "", **environ: str) -> Result:
        variables = {"BFF_CONFIG_DIR": str(self.config.write()), "FORCE_COLOR": None, **environ}
        return CliRunner(env=variables).invoke(main, ["sessions", *arguments], input=answer)


@pytest.fixture
def bff(tmp_path: Path) -> Bff:
    return Bff(tmp_path)
