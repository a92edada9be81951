"""The ids of a call whose client brought none.

They are random but no secrets, so the system is asked for many at a time: two system calls fewer in each call. A forked
child begins with none of its parent's, for two processes must never give out the same.
"""

from __future__ import annotations

import os

_ID_BYTES = 16
_AT_A_TIME = 256

_unused: list[str] = []
"""Taken with `pop`, which gives each to one thread only."""
_unused_traceparents: list[str] = []
os.register_at_fork(after_in_child=_unused.clear)
os.register_at_fork(after_in_child=_unused_traceparents.clear)


def make_request_id() -> str:
    """128 random bits in lower-case hex."""
    try:
        return _unused.pop()
    except IndexError:
        made = _make_ids(_AT_A_TIME)
        _unused.extend(made[1:])
        return made[0]


def make_traceparent() -> str:
    """Starts a trace (W3C Trace Context §3.2); not sampled: whether to record it is for a backend to say."""
    try:
        return _unused_traceparents.pop()
    except IndexError:
        ids = zip(_make_ids(_AT_A_TIME), _make_ids(_AT_A_TIME), strict=True)
        made = [f"00-{trace}-{span[:16]}-00" for trace, span in ids]
        _unused_traceparents.extend(made[1:])
        return made[0]


def _make_ids(count: int) -> list[str]:
    digits = os.urandom(_ID_BYTES * count).hex()
    size = 2 * _ID_BYTES
    return [digits[place : place + size] for place in range(0, len(digits), size)]
