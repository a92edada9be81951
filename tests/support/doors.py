"""The two front doors, for tests that run over both: a call has to be answered the same at each.

`gunicorn.conf.py` opens the worker door; `wsgi_door_worker` the other one.
"""

from __future__ import annotations

from typing import Literal

Door = Literal["worker", "wsgi"]
DOORS: tuple[Door, ...] = ("worker", "wsgi")


def build_door_options(door: Door) -> list[str]:
    """What gunicorn's command line takes to open that door."""
    return [] if door == "worker" else ["--worker-class", "tests.support.wsgi_door_worker.WsgiDoorWorker"]
