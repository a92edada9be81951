"""Workers are killed again and again under load; every session that was made is there at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.test_killed_worker import drill
from tests.support.bff import Stack

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(900)]

KILLS = 40


def test_no_session_is_lost_in_forty_kills(stack: Stack, tmp_path: Path) -> None:
    kept = drill(stack, tmp_path / "bff", kills=KILLS, users=4, workers=3)
    print(f"{kept} logins kept through {KILLS} kills")
