"""The WSGI door under gunicorn: the same worker, told to claim nothing, so that Flask answers every call as it does
under any other WSGI server. Imported by gunicorn only."""

from __future__ import annotations

from typing import Any

from app.gateway.worker import BffWorker


class WsgiDoorWorker(BffWorker):
    """Leaves every call to Flask."""

    def claim(self, req: Any) -> None:
        del req

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._lane = None  # no fast lane either
