"""gunicorn's own messages, in the master and in the workers, as event lines like all others.

gunicorn's access log stays off: access lines are written by whoever answers the call, without the query.
"""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger

from app.observability import audit


class JsonLogger(Logger):  # type: ignore[misc]
    """Leaves the records of `gunicorn.error` to the handler that `logs.configure` put on the root logger."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.loglevel = logging.getLevelNamesMapping()[cfg.loglevel.upper()]
        self._access_log_enabled = False
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = True
        self.access_log.disabled = True

    def access(self, resp: object, req: object, environ: object, request_time: object) -> None:
        """Writes nothing."""

    def reopen_files(self) -> None:
        """SIGUSR1: the audit file was rotated."""
        audit.reopen()
