"""Sessions over a `StateStore`: made at login, found on every call, touched now and then, ended for good.

What ended never comes back. `end` writes a tombstone before it removes anything. A session record is created once,
under an id nobody has seen, and afterwards only ever replaced while it is the one that was read (`put_if_current`), so
a touch that is late finds nothing to replace, and takes back nothing that changed meanwhile; a login that is late looks
for the tombstone after writing and takes its record away again. Whichever of the two comes second sees what the first
one did.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from app.core.errors import LoginFailedError, StoreUnavailableError
from app.observability import audit
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.session_store.keys import (
    build_idp_session_index_name,
    build_session_key,
    build_session_record_name,
    build_shard_index_name,
    build_subject_index_name,
    build_tokens_record_name,
    build_tombstone_name,
    build_user_index_name,
    is_session_id,
    list_shard_index_names,
    make_session_id,
)
from app.services.session_store.local_copies import LocalCopies
from app.services.session_store.record import (
    NewSession,
    OpenedRecord,
    SessionRecord,
    build_session_record,
    open_session_record,
    seal_session_record,
)
from app.services.session_store.timeouts import SessionTimeouts
from app.services.state_store import StateStore, StoredRecord
from app.services.state_store.complaints import Complaints
from app.services.state_store.versioned import UnreadableRecordError, UnstorableRecordError
from app.settings.schema.settings_file import SessionSettings

TOMBSTONE_LIFETIME_SECONDS = 600
"""Longer than any request, login or refresh that could still be under way when a session ends."""

_ENDED, _SUCCEEDED = b"1", b"2"
"""What a tombstone says."""
_REFERENCE_BYTES = 16
_MOST_ATTEMPTS = 10
"""Of a change of claims, when calls write their activity down at the same time."""
_MOST_UNFINISHED_ENDS = 10_000

_LONGEST_UNREAD_SECONDS = 60.0
"""Of a session that is watched: a record can be lost without anybody announcing it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SeenSession:
    """A record, the mark of the write that made it, and when it was read."""

    record: SessionRecord
    mark: Hashable
    read_at: float


class SessionStore:
    """One a worker. `clock` gives epoch seconds. Every method may raise `StoreUnavailableError`."""

    def __init__(
        self,
        state: StateStore,
        key_ring: KeyRing,
        *,
        settings: SessionSettings,
        clock: Callable[[], float],
        issuer: str = "",
        keep_tokens: Callable[[str, StoredRecord], None] | None = None,
    ) -> None:
        """`issuer` is the provider that logs users in: a session from another one, before the settings were changed, is
        not used, so that no provider is shown another one's tokens. Empty: whoever it was.

        `keep_tokens` is given the key and the sealed tokens of each session that a copy is made of: who wants the one
        mostly wants the other, and read together they cost one round trip."""
        self._state = state
        self._key_ring = key_ring
        self._clock = clock
        self._issuer = issuer
        self._timeouts = SessionTimeouts.from_settings(settings)
        self.copies: LocalCopies[SessionRecord] = LocalCopies(
            state.is_current, max_age_seconds=settings.local_cache_seconds
        )
        self._keep_tokens = keep_tokens if settings.local_cache_seconds > 0 else None
        self._unfinished_ends: set[str] = set()
        self._complaints = Complaints()
        self._next_touch_warning_at = 0.0

    def create(self, login: NewSession) -> tuple[str, SessionRecord]:
        """Returns the new session's id, which goes into the cookie and nowhere else, and its record.

        Raises `LoginFailedError` when the session was ended before it was there, or its claims cannot be stored.
        """
        session_id = make_session_id()
        key, now = build_session_key(session_id), self._clock()
        record = build_session_record(login, reference=secrets.token_hex(_REFERENCE_BYTES), now=now)
        name = build_session_record_name(key)
        try:
            sealed = seal_session_record(record, self._key_ring, name)
        except UnstorableRecordError as error:
            raise LoginFailedError(internal_reason=f"the claims cannot be stored: {error}") from error
        for index in _build_index_names(key, record):  # first: a session that no index names could not be ended by one
            self._state.add_member(index, key, self._timeouts.absolute_seconds)
        self._state.add(name, sealed, self._timeouts.remaining(record, now), durable=True)
        if self.has_ended(key):
            self._remove_records(key, record)
            raise LoginFailedError(internal_reason="the session was ended while its login was under way")
        return session_id, record

    def find(self, session_id: str) -> SessionRecord | None:
        """Returns the session, or None when there is none or its time is over.

        Malformed ids are unknown without asking the store. None also for a record that does not open, or is of a later
        format version: this worker cannot use it, says so in the log, and leaves it where it is.
        """
        key = self.find_key(session_id)
        return self.find_by_key(key) if key is not None else None

    def find_key(self, session_id: str) -> str | None:
        """As `session_key`, for an id that a client brought; None for what can be none of ours."""
        return build_session_key(session_id) if is_session_id(session_id) else None

    def find_by_key(self, key: str) -> SessionRecord | None:
        now = self._clock()
        name = build_session_record_name(key)
        record = self.copies.find(name, now) or self._read(key, name, now)
        return record if record and self._is_live(key, record, now) else None

    def find_stored_by_key(self, key: str) -> SessionRecord | None:
        """As `find_by_key`, but what is in the store at this moment, and without keeping a copy of it."""
        name = build_session_record_name(key)
        stored = self._state.find(name)
        opened = self._open(name, stored) if stored else None
        return opened.record if opened and self._is_live(key, opened.record, self._clock()) else None

    def see(self, key: str, before: SeenSession | None) -> SeenSession | None:
        """Looks whether a session that was seen `before` is still there; None when it is over.

        For those who look often: the record is read again only where it may have changed, and once a minute.
        """
        now, name = self._clock(), build_session_record_name(key)
        seen = before or self._see_copy(name)
        if seen is None or not self._is_still_as_seen(name, seen, now):
            stored = self._state.find(name)
            opened = self._open(name, stored) if stored else None
            if not stored or not opened:
                return None
            # The same record once more would lie in memory twice: its call holds the one that was seen first.
            record = seen.record if seen and seen.record == opened.record else opened.record
            seen = SeenSession(record, stored.mark, now)
        return seen if self._is_live(key, seen.record, now) else None

    def _see_copy(self, name: str) -> SeenSession | None:
        """What a call has read a moment ago need not be read again."""
        copy = self.copies.get(name)
        return SeenSession(copy.record, copy.mark, copy.copied_at) if copy else None

    def _is_still_as_seen(self, name: str, seen: SeenSession, now: float) -> bool:
        is_recent = 0 <= now - seen.read_at < _LONGEST_UNREAD_SECONDS
        return is_recent and self._state.hears_changes() and self._state.is_current(name, seen.mark)

    def touch(self, session_id: str, record: SessionRecord) -> SessionRecord:
        """Counts as activity: writes the time into the record if the last such write is a touch interval old.

        Returns the record as it now is; a session that has ended meanwhile stays ended. A write that fails is logged
        and tried again by the next call: the call at hand was read from the store and is good.
        """
        now = self._clock()
        if not self._timeouts.is_touch_due(record, now):
            return record
        name = build_session_record_name(build_session_key(session_id))
        try:
            return self._write_last_seen(name, record, now)
        except StoreUnavailableError as error:
            self._warn_of_failed_touch(error, now)
            return record

    def change_claims(
        self, key: str, build: Callable[[Mapping[str, object]], Mapping[str, object]]
    ) -> tuple[SessionRecord, SessionRecord] | None:
        """Puts what `build` makes of the session's claims in their place, and changes nothing else.

        Returns the record before and after, or None when that makes no difference, or the session has ended. Raises
        `UnstorableRecordError` for claims that cannot be kept, and what `build` raises.
        """
        name = build_session_record_name(key)
        for _ in range(_MOST_ATTEMPTS):
            stored, now = self._state.find(name), self._clock()
            opened = self._open(name, stored) if stored else None
            if not stored or not opened or not self._is_live(key, opened.record, now):
                return None
            before = opened.record
            claims = build(before.claims)
            if claims == before.claims:
                return None
            after = replace(before, claims=claims, claims_version=before.claims_version + 1)
            sealed = opened.seal_changed(self._key_ring, name, claims=after.claims, claims_version=after.claims_version)
            if self._state.put_if_current(name, stored.mark, sealed, self._timeouts.remaining(before, now)):
                return before, after
        raise StoreUnavailableError(internal_reason="others change the session all the time")

    def end(self, session_id: str) -> SessionRecord | None:
        """Ends the session with all its records, and returns what it was if it was there."""
        return self.end_by_key(build_session_key(session_id)) if is_session_id(session_id) else None

    def end_by_key(self, key: str, *, has_successor: bool = False) -> SessionRecord | None:
        """As `end`. When the store fails, this worker still takes the session for ended, and
        `retry_unfinished_ends` ends it for the others. `has_successor`: a login of the same user takes its place."""
        self.copies.drop(build_session_record_name(key))
        try:
            record = self._end(key, _SUCCEEDED if has_successor else _ENDED)
        except StoreUnavailableError:
            if len(self._unfinished_ends) < _MOST_UNFINISHED_ENDS:
                self._unfinished_ends.add(key)
            raise
        self._unfinished_ends.discard(key)
        return record

    def retry_unfinished_ends(self) -> int:
        """Ends what could not be ended while the store was away; returns how many. Housekeeping calls it."""
        unfinished = list(self._unfinished_ends)
        for key in unfinished:
            self.end_by_key(key)
        return len(unfinished)

    def has_ended(self, key: str) -> bool:
        """Whether a session of this key was ended in the last ten minutes."""
        return self._state.find(build_tombstone_name(key)) is not None

    def has_ended_for_good(self, key: str) -> bool:
        """Whether the session of this key was ended, and not in favour of another login of its user: at many providers
        both share one grant, so that to revoke what is left of the one would end the other."""
        tombstone = self._state.find(build_tombstone_name(key))
        return tombstone is not None and tombstone.value != _SUCCEEDED

    def find_keys_of_user(self, user_id: str) -> frozenset[str]:
        """Session keys; some may belong to sessions whose time is over."""
        return self._state.members(build_user_index_name(user_id))

    def find_keys_of_idp_session(self, issuer: str, idp_session_id: str) -> frozenset[str]:
        """Session keys of the IdP's session `sid` (OpenID Connect Back-Channel Logout 1.0 §2.4)."""
        return self._state.members(build_idp_session_index_name(issuer, idp_session_id))

    def find_keys_of_subject(self, issuer: str, subject: str) -> frozenset[str]:
        """Session keys of whom the IdP calls `sub`; also those of a user who has the same words as an id, so look at
        the records. Where the id is the `sub`, as it mostly is, no index of its own is kept."""
        return self.find_keys_of_user(subject) | self._state.members(build_subject_index_name(issuer, subject))

    def find_all_keys(self) -> Iterator[str]:
        """Session keys of everybody, for operators: reads 256 lists. As with the others, some may be over."""
        for index in list_shard_index_names():
            yield from self._state.members(index)

    def session_key(self, session_id: str) -> str:
        """SHA-256 of the id in hex: what other stores may use as a name."""
        return build_session_key(session_id)

    def expires_in(self, record: SessionRecord, now: float) -> int:
        """Whole seconds until the session is over if nothing more is heard of it."""
        return max(0, int(self._timeouts.remaining(record, now)))

    def absolute_expires_in(self, record: SessionRecord, now: float) -> int:
        """Whole seconds until the session is over in any case."""
        return max(0, int(self._timeouts.absolute_remaining(record, now)))

    def expires_at(self, record: SessionRecord) -> float:
        """Epoch seconds at which the session is over if nothing more is heard of it."""
        return self._timeouts.expires_at(record)

    def absolute_expires_at(self, record: SessionRecord) -> float:
        """Epoch seconds at which the session is over in any case."""
        return self._timeouts.absolute_expires_at(record)

    def _is_live(self, key: str, record: SessionRecord, now: float) -> bool:
        if key in self._unfinished_ends or self._timeouts.is_over(record, now):
            return False
        return record.issuer == self._issuer or not self._issuer

    def _read(self, key: str, name: str, now: float) -> SessionRecord | None:
        stored, tokens = self._find_with_tokens(key, name)
        opened = self._open(name, stored) if stored else None
        if not stored or not opened:
            return None
        self.copies.keep(name, opened.record, stored.mark, now)
        if self._keep_tokens and tokens:
            self._keep_tokens(key, tokens)
        return opened.record

    def _find_with_tokens(self, key: str, name: str) -> Sequence[StoredRecord | None]:
        if self._keep_tokens is None:
            return self._state.find(name), None
        return self._state.find_together(name, build_tokens_record_name(key))

    def _open(self, name: str, stored: StoredRecord) -> OpenedRecord | None:
        try:
            return open_session_record(stored.value, self._key_ring, name)
        except (SealBrokenError, UnreadableRecordError) as error:
            if self._complaints.is_new(name, str(error)):
                _log.warning("session_record.unreadable", reason=str(error))
                audit.record("record.refused", kind="session", reason=str(error))
            return None

    def _write_last_seen(self, name: str, record: SessionRecord, now: float) -> SessionRecord:
        """One read and one write, and no lock: where somebody else changes the record meanwhile, it is theirs that
        stays, and the next call tries again."""
        stored = self._state.find(name)
        opened = self._open(name, stored) if stored else None
        if not stored or not opened or self._timeouts.is_over(opened.record, now):
            return record
        if not self._timeouts.is_touch_due(opened.record, now):
            return opened.record
        touched = replace(opened.record, last_seen_at=now)
        sealed = opened.seal_changed(self._key_ring, name, last_seen_at=now)
        lifetime = self._timeouts.remaining(touched, now)
        return touched if self._state.put_if_current(name, stored.mark, sealed, lifetime) else record

    def _warn_of_failed_touch(self, error: StoreUnavailableError, now: float) -> None:
        if now >= self._next_touch_warning_at:
            self._next_touch_warning_at = now + self._timeouts.touch_interval_seconds
            _log.warning("session_record.touch_failed", reason=error.internal_reason)

    def _end(self, key: str, tombstone: bytes) -> SessionRecord | None:
        name = build_session_record_name(key)
        stored = self._state.find(name)
        opened = self._open(name, stored) if stored else None
        record = opened.record if opened else None
        try:
            self._state.put(build_tombstone_name(key), tombstone, TOMBSTONE_LIFETIME_SECONDS)
        finally:  # a full disk refuses the tombstone and still lets the records go
            self._remove_records(key, record)
        return record

    def _remove_records(self, key: str, record: SessionRecord | None) -> None:
        self._state.delete(build_session_record_name(key))
        self._state.delete(build_tokens_record_name(key), durable=True)  # and with it what was written before
        for index in _build_index_names(key, record):
            self._state.remove_member(index, key)


def _build_index_names(key: str, record: SessionRecord | None) -> tuple[str, ...]:
    """What lists the session; of one that cannot be read the user is not known."""
    names = [build_shard_index_name(key)]
    if record:
        names.append(build_user_index_name(record.user_id))
    if record and record.subject != record.user_id:
        names.append(build_subject_index_name(record.issuer, record.subject))
    if record and record.idp_session_id:
        names.append(build_idp_session_index_name(record.issuer, record.idp_session_id))
    return tuple(names)
