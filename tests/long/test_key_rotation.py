"""Three rotations under load, at a provider that keeps a JWKS for a minute."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.live.test_key_rotation import drill, running_world

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(900)]

PUBLISH_AHEAD_SECONDS = 66
"""More than the minute for which the provider goes on with what it has read, whatever it meets."""


def test_a_login_and_a_refresh_every_50_ms_over_three_rotations_and_none_fails(tmp_path: Path) -> None:
    started_at = time.monotonic()
    with running_world(tmp_path, publish_ahead_seconds=PUBLISH_AHEAD_SECONDS) as (op, bff):
        load = drill(op, bff, rotations=3, publish_ahead_seconds=PUBLISH_AHEAD_SECONDS, interval_seconds=0.05)
    seconds = time.monotonic() - started_at
    print(f"{load.logins} logins and {load.refreshes} refreshes in {seconds:.0f} s over three rotations, none failed")
    assert seconds > 120
