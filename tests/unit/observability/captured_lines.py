"""Log lines as they are written, for tests of whoever writes some."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from app.observability.lines import LineWriter


class CapturedLines:
    """Stands in for stdout: a file that a `LineWriter` writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.writer = LineWriter(self._descriptor)

    @property
    def text(self) -> str:
        return self._path.read_text(encoding="utf-8")

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every line, parsed: fails for a line that is not one JSON object."""
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["log"] == kind]

    def close(self) -> None:
        os.close(self._descriptor)
