"""The `StateStore`: what an engine must promise. One contract suite holds every engine to it.

Keys are ASCII strings of the form `kind:name` (`session:<hex>`, `tokens:<hex>`, `login:<hex>`, …); an engine may place
kinds apart. Values are opaque bytes. Every record has a lifetime; an expired record is not there. Any failure of the
place itself raises `StoreUnavailableError`: it never looks like "not there".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec


class StoredRecord(msgspec.Struct, frozen=True):
    """A value and a mark of the very write that made it (for a directory: the file's identity)."""

    value: bytes
    mark: Hashable


class LockHold(Protocol):
    """What `lock` enters with: true when the lock was had."""

    def __bool__(self) -> bool: ...

    def is_held(self) -> bool:
        """Asks whether the lock is still ours: a lease can run out, and a place that fails over can forget it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A member of an agenda that was due and is the claimer's for as long as its lease lasts."""

    member: str
    ticket: Hashable
    """Tells this claim from every other, for `settle`."""


DEFAULT_LEASE_SECONDS = 30.0


class StateStore(Protocol):
    """Shared by all greenlets, workers and (with Redis) machines.

    A write that is `durable` returns once a replica has it too, where the place has replicas and they are in time; else
    it is said in the log that a failover could lose it.
    """

    def start(self) -> None:
        """Begins what runs beside the calls. To be called in a worker, after the fork; the calls work without it."""

    def close(self) -> None:
        """Ends it, and lets go of connections."""

    def find(self, key: str) -> StoredRecord | None:
        """Returns the record, or None when there is none or its lifetime is over."""

    def find_together(self, *keys: str) -> tuple[StoredRecord | None, ...]:
        """As `find` for each of them, at the cost of one: keys that differ in their kind only, as a session's do."""

    def is_current(self, key: str, mark: Hashable) -> bool:
        """Tells cheaply whether the record under `key` is still the one that `find` gave with this `mark`.

        With a directory the answer is exact. With Redis it costs no round trip: what this process changed it knows at
        once, what others changed when word of it has come (`start`), so whoever keeps a copy bounds its age as well.
        """

    def confirm(self, marks: Mapping[str, Hashable]) -> dict[str, Hashable]:
        """Looks which of these records are still the ones that `find` gave with these marks, all at the cost of one or
        two reads. Returns a mark of this moment for each that is. What cannot be asked, as with one node of a cluster
        away, is not among them; it raises only where none of them could be."""

    def hears_changes(self) -> bool:
        """Tells whether `is_current` can be believed at this moment, give or take the second that word may take."""

    def put(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> None:
        """Creates or replaces the record atomically: a reader sees the old value or the new one, never a part."""

    def put_if_current(
        self, key: str, mark: Hashable, value: bytes, lifetime_seconds: float, *, durable: bool = False
    ) -> bool:
        """Replaces the very record that `find` gave with this `mark`; False (and nothing written) when it has been
        replaced or is gone since. Exact with every engine: what was read long ago cannot overwrite what is newer."""

    def add(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> bool:
        """Creates the record; False when there already is one. Of several callers at once exactly one gets True."""

    def take(self, key: str) -> bytes | None:
        """Removes the record and returns its value. Of several callers at once exactly one gets it."""

    def delete(self, key: str, *, durable: bool = False) -> None:
        """Removes the record; nothing happens when there is none."""

    def increment(self, key: str, lifetime_seconds: float) -> int:
        """Counts up and returns the new count; the lifetime runs from the first increment."""

    def add_member(self, key: str, member: str, lifetime_seconds: float) -> None:
        """Adds to the set under `key`; the set lives at least as long as its longest-lived member."""

    def remove_member(self, key: str, member: str) -> None:
        """Removes from the set; nothing happens when it is not in there."""

    def members(self, key: str) -> frozenset[str]:
        """Returns the set's members whose lifetime is not over."""

    def lock(
        self, name: str, wait_seconds: float, lease_seconds: float = DEFAULT_LEASE_SECONDS
    ) -> AbstractContextManager[LockHold]:
        """Holds a lock across greenlets, workers and machines; enters with something false when it could not be had in
        time.

        The lease has to be longer than the work: where the place cannot tell that a holder died (Redis), others get the
        lock when it is over, and it is never extended. With a directory the kernel tells, and the lease means nothing.
        """

    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        """Makes a member of the agenda due after `delay_seconds`, whatever it was before: new, planned or claimed.

        Agendas are named in lower case and dashes; members hold letters, digits and `._~-`, 128 at most. Times are
        counted by the place's own clock, so that machines whose clocks differ agree. Nothing expires: what is due stays
        until somebody claims and settles it.
        """

    def claim_due(self, agenda: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        """Takes up to `limit` members that are due; fewer only when no more are. Of several callers one gets each.

        A member that is neither settled nor scheduled anew is due again for everybody when the lease is over, so a
        claimer that dies loses nothing. In which order they come is left open.
        """

    def settle(self, agenda: str, claim: Claim, *, again_in_seconds: float | None = None) -> None:
        """Ends a claim: the member goes, or is due again later. Nothing happens when it was scheduled anew or claimed
        by somebody else since: a claim that is over changes nothing."""

    def sweep(self) -> int:
        """Removes what has expired and returns how many records that were; an engine that does it itself returns 0."""

    def check(self) -> None:
        """Raises `StoreUnavailableError` unless a record can be written and read back right now."""
