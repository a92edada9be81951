"""What every engine takes as an agenda, a member and a time."""

from __future__ import annotations

import re

MICROSECONDS = 10**6
"""In a second."""

_AGENDA = re.compile(r"[a-z][a-z-]{0,63}")
_MEMBER = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_LONGEST_SECONDS = 10**9


def check_agenda(agenda: str) -> None:
    """Raises `ValueError`."""
    if not _AGENDA.fullmatch(agenda):
        raise ValueError("an agenda is named in lower case and dashes")


def check_member(member: str) -> None:
    """Raises `ValueError`."""
    if not _MEMBER.fullmatch(member):
        raise ValueError("a member of an agenda is plain ASCII without spaces")


def build_microseconds(delay_seconds: float) -> int:
    """Nothing is due before now, or later than in thirty years."""
    return round(min(max(delay_seconds, 0), _LONGEST_SECONDS) * MICROSECONDS)
