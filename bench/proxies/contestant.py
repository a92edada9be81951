"""A proxy under test, as the load generator sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

JSON_PATH = "/api/crud/forms/7"
"""Every proxy maps /api/crud/* to the backend's /*."""
OPEN_PATH = "/api/open/forms/7"
"""At the BFF the same without a question to the decision point."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One logged-in browser."""

    cookie: str = ""
    csrf_token: str = ""


@dataclass(slots=True)
class Contestant:
    name: str
    title: str
    """For people: what it is and how it is set up."""
    port: int
    pids: Sequence[int]
    """The roots of its process trees; what it only talks to (Redis, the provider) is not among them."""
    callers_file: Path
    stop: Callable[[], object]
    count_store_reads: Callable[[], int] | None = field(default=None)
    """How often its shared store has been read so far, for the rate at which its own copies served."""

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"


def write_callers(path: Path, callers: Sequence[Caller]) -> Path:
    path.write_text("".join(f"{caller.cookie}\t{caller.csrf_token}\n" for caller in callers), encoding="ascii")
    path.chmod(0o600)
    return path


def read_cookies(path: Path) -> list[str]:
    return [line.partition("\t")[0] for line in path.read_text(encoding="ascii").splitlines()]
