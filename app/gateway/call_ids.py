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
os.register_at_fork(after_in_child=_unused.clear)


def make_request_id() -> str:
    """128 random bits in lower-case hex."""
    try:
        return _unused.pop()
    except IndexError:
        digits = os.urandom(_ID_BYTES * _AT_A_TIME).hex()
        size = 2 * _ID_BYTES
        _unused.extend(digits[place : place + size] for place in range(size, len(digits), size))
        return digits[:size]


def make_traceparent() -> str:
    """Starts a trace (W3C Trace Context §3.2); not sampled: whether to record it is for a backend to say."""
    return f"00-{make_request_id()}-{make_request_id()[:16]}-00"
