"""Points everything that observes to where it goes; called once in every process that serves."""

from __future__ import annotations

from app.observability import audit, lines, logs
from app.observability.metrics import Metrics


def start_observing(*, level: str, audit_sink: str, metrics: Metrics) -> None:
    """Sets up event and audit lines and counts the lines that are lost. Raises `OSError` for a useless audit file."""
    logs.configure(level)
    audit.configure(audit_sink)
    lines.stdout.on_drop = metrics.count_access_record_dropped
