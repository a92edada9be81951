"""How long properties over real sockets are tried: a moment in every run, the same cases each time; in the long drills
for `BFF_FUZZ_SECONDS`, with new cases each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

FUZZ_SECONDS = float(os.environ.get("BFF_FUZZ_SECONDS", "240"))

_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
MOMENT = settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=_QUIET,
)
LONG = settings(max_examples=500, deadline=None, database=None, suppress_health_check=_QUIET)


def try_for_long(prove: Callable[[], None], seconds: float = FUZZ_SECONDS) -> int:
    """Runs the property again and again, each time from another seed; returns how many times."""
    until, times = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        seeded: Any = seed(time.time_ns())(prove)
        seeded()
        times += 1
    return times
