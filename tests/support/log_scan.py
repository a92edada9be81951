"""Looks for secrets in logs: the very values that were used, not patterns that they might have."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

# Shorter values (a state "x" of some test) would be found by chance.
SHORTEST_SECRET = 12


def find_leaks(logs: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Each secret that stands in a log, as a sentence with the file and line and only the first characters of it."""
    wanted = sorted({spelling for secret in secrets for spelling in spellings_of(secret)})
    leaks = []
    for log in logs:
        for number, line in enumerate(log.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            leaks += [f"{log.name}:{number} holds {value[:6]}…" for value in wanted if value in line]
    return leaks


def spellings_of(secret: str) -> set[str]:
    """The ways a value may be written in a line: as it is, or percent-encoded as in a URL."""
    if len(secret) < SHORTEST_SECRET:
        return set()
    return {secret, quote(secret, safe=""), quote_plus(secret)}
