"""What earlier calls with the same bytes have shown, so that it need not be found out again.

The same bytes are the same request line with the same header lines, from the same address. Noted is only what follows
from them, and what follows from them and from who calls; never a refusal, and nothing that time or a store can change.
`known_heads` keeps it beside the bytes.
"""

from __future__ import annotations


class CallerPrecedent:
    """What holds for calls within one scope of decisions."""

    def __init__(self, scope: tuple[str, ...]) -> None:
        self.scope = scope
        """The identity's `decision_scope`: this session, with its claims as they were."""
        self.question_key: bytes | None = None
        """What the decision about such a call is remembered by."""
        self.lines: bytes | None = None
        """What a backend is told of the caller and of the route, in its final form."""

    def __repr__(self) -> str:
        """It names a user and a session."""
        return f"<CallerPrecedent {self.question_key is not None}>"


class Precedent:
    """What holds for all calls with the same bytes."""

    def __init__(self) -> None:
        self.has_passed = False
        """The checks that look at nothing but the head (steps 1, 2 and the first half of 4) let such a call pass."""
        self.of_caller: CallerPrecedent | None = None
        """Of the last one."""

    def for_scope(self, scope: tuple[str, ...]) -> CallerPrecedent:
        """Returns what holds within this scope, as far as it is known.

        A call keeps what it got: what it notes is of no more effect once another scope has taken the place.
        """
        found = self.of_caller
        if found is None or found.scope != scope:
            found = self.of_caller = CallerPrecedent(scope)
        return found
