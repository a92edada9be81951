"""The Redis engine: state that all machines share.

Redis expires the records, counts their time by its own clock, and runs each change as one step. Copies are judged
without asking it, by what `ChangeListener` has heard.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager

import structlog

from app.core.errors import StoreUnavailableError
from app.services.state_store.complaints import Complaints
from app.services.state_store.interface import DEFAULT_LEASE_SECONDS, Claim, LockHold, StoredRecord
from app.services.state_store.redis_engine import scripts
from app.services.state_store.redis_engine.agenda import RedisAgendas
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.changes import Changes
from app.services.state_store.redis_engine.data_loss import DataLossWatch
from app.services.state_store.redis_engine.frame import (
    HEAD_BYTES,
    RedisMark,
    UnreadableFrameError,
    build_frame,
    parse_frame,
)
from app.services.state_store.redis_engine.listener import ChangeListener, build_announcement
from app.services.state_store.redis_engine.lock import LeasedLocks
from app.services.state_store.redis_engine.scripts import Script, build_command, build_script_command
from app.services.state_store.redis_engine.topology import Topology
from app.services.state_store.redis_engine.wire import Argument, Reply

ANNOUNCED_KINDS = frozenset({"session", "tokens", "service-token", "decisions"})
"""Kinds of records that workers may keep copies of. Changes of others are announced to nobody."""

_KEY = re.compile(r"(?P<kind>[a-z][a-z-]*):(?P<name>[A-Za-z0-9._~:-]{1,256})")
_PROBE_LIFETIME_MILLISECONDS = 60_000

_log = structlog.get_logger(__name__)


class _Name:
    """A record's key as Redis has it. What follows the kind decides the slot: all records of a session lie together."""

    def __init__(self, redis_key: str, *, is_announced: bool) -> None:
        self.redis_key = redis_key
        self.is_announced = is_announced


class RedisStateStore:
    """`StateStore` in Redis. `clock` gives epoch seconds, and only bounds copies. Connects when it is first used."""

    def __init__(
        self,
        topology: Topology,
        caller: RedisCaller,
        *,
        key_prefix: str,
        clock: Callable[[], float],
    ) -> None:
        self._topology = topology
        self._caller = caller
        self._key_prefix = key_prefix
        self._clock = clock
        self._channel = f"{key_prefix}changes"
        self._changes = Changes()
        self._locks = LeasedLocks(caller, key_prefix)
        self._agendas = RedisAgendas(caller, lambda key: self._build_name(key).redis_key)
        self._complaints = Complaints()
        watch = DataLossWatch(caller, self._build_name("store:name").redis_key)
        self.listener = ChangeListener(topology, self._channel, self._changes, on_hearing=watch.look)

    def start(self) -> None:
        self.listener.start()

    def close(self) -> None:
        self.listener.stop()
        self._locks.close()
        self._topology.close()

    def find(self, key: str) -> StoredRecord | None:
        position = self._changes.position
        content = self._caller.call("find", build_command("GET", self._build_name(key).redis_key))
        return self._parse(key, content, position)

    def find_together(self, *keys: str) -> tuple[StoredRecord | None, ...]:
        position = self._changes.position
        command = build_command("MGET", *[self._build_name(key).redis_key for key in keys])
        contents = self._caller.call("find_together", command)
        return tuple(self._parse(key, content, position) for key, content in zip(keys, contents, strict=True))

    def _parse(self, key: str, content: bytes | None, position: int) -> StoredRecord | None:
        if content is None:
            return None
        try:
            frame = parse_frame(key, content)
        except UnreadableFrameError as error:
            self._complain_once(key, str(error))
            return None
        return StoredRecord(frame.value, RedisMark(frame.head, position, frame.expires_at))

    def is_current(self, key: str, mark: Hashable) -> bool:
        if not isinstance(mark, RedisMark) or not _is_announced(key):
            return False
        return self._clock() < mark.expires_at and self._changes.is_current(key, mark.read_at_position, mark.head)

    def confirm(self, marks: Mapping[str, Hashable]) -> dict[str, Hashable]:
        position = self._changes.position
        known = {key: mark for key, mark in marks.items() if isinstance(mark, RedisMark) and _is_announced(key)}
        looks = [build_command("GETRANGE", self._build_name(key).redis_key, 0, HEAD_BYTES - 1) for key in known]
        heads = self._caller.look(looks)
        if heads and all(head is None for head in heads):
            raise StoreUnavailableError(internal_reason="confirm: nobody answered")
        return {
            key: RedisMark(mark.head, position, mark.expires_at)
            for (key, mark), head in zip(known.items(), heads, strict=True)
            if head == mark.head
        }

    def hears_changes(self) -> bool:
        return self.listener.is_hearing()

    def put(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> None:
        self._write("put", scripts.PUT, key, value, lifetime_seconds, durable=durable)

    def put_if_current(
        self, key: str, mark: Hashable, value: bytes, lifetime_seconds: float, *, durable: bool = False
    ) -> bool:
        if not isinstance(mark, RedisMark):
            return False
        script = scripts.PUT_IF_CURRENT
        return self._write("put_if_current", script, key, value, lifetime_seconds, mark.head, durable=durable)

    def add(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> bool:
        return self._write("add", scripts.ADD, key, value, lifetime_seconds, durable=durable)

    def take(self, key: str) -> bytes | None:
        name = self._build_name(key)
        command = build_script_command(
            scripts.TAKE, name.redis_key, *self._build_gone_arguments(key, name), can_be_repeated=False
        )
        content = self._change("take", key, name, command)
        if content is None:
            return None
        try:
            return parse_frame(key, content).value
        except UnreadableFrameError as error:
            self._complain_once(key, str(error))
            return None

    def delete(self, key: str, *, durable: bool = False) -> None:
        name = self._build_name(key)
        command = build_script_command(scripts.DELETE, name.redis_key, *self._build_gone_arguments(key, name))
        self._change("delete", key, name, command, durable=durable)

    def increment(self, key: str, lifetime_seconds: float) -> int:
        command = build_script_command(
            scripts.INCREMENT,
            self._build_name(key).redis_key,
            max(1, _build_milliseconds(lifetime_seconds)),
            can_be_repeated=False,
        )
        return int(self._caller.call("increment", command))

    def add_member(self, key: str, member: str, lifetime_seconds: float) -> None:
        redis_key = self._build_name(key).redis_key
        milliseconds = _build_milliseconds(lifetime_seconds)
        self._caller.call(
            "add_member", build_script_command(scripts.ADD_MEMBER, redis_key, member.encode(), milliseconds)
        )

    def remove_member(self, key: str, member: str) -> None:
        self._caller.call("remove_member", build_command("ZREM", self._build_name(key).redis_key, member.encode()))

    def members(self, key: str) -> frozenset[str]:
        reply = self._caller.call("members", build_script_command(scripts.MEMBERS, self._build_name(key).redis_key))
        return frozenset(member.decode() for member in reply)

    def lock(
        self, name: str, wait_seconds: float, lease_seconds: float = DEFAULT_LEASE_SECONDS
    ) -> AbstractContextManager[LockHold]:
        return self._locks.hold(name, wait_seconds, lease_seconds)

    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        self._agendas.schedule(agenda, member, delay_seconds)

    def claim_due(self, agenda: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        return self._agendas.claim_due(agenda, limit, lease_seconds)

    def settle(self, agenda: str, claim: Claim, *, again_in_seconds: float | None = None) -> None:
        self._agendas.settle(agenda, claim, again_in_seconds)

    def sweep(self) -> int:
        """Redis does it itself."""
        return 0

    def check(self) -> None:
        """Also that changes may be announced. Of a cluster it tries the node that a key of chance falls to."""
        redis_key = self._build_name(f"probe:{secrets.token_hex(16)}").redis_key
        value = secrets.token_bytes(16)
        command = build_script_command(scripts.CHECK, redis_key, value, _PROBE_LIFETIME_MILLISECONDS)
        self._caller.call("check", build_command("PUBLISH", self._channel, b""))
        if self._caller.call("check", command) != value:
            raise StoreUnavailableError(internal_reason="a record that was written did not come back")

    def __repr__(self) -> str:
        return "<RedisStateStore>"

    def _write(
        self, operation: str, script: Script, key: str, value: bytes, lifetime: float, *more: Argument, durable: bool
    ) -> bool:
        name = self._build_name(key)
        milliseconds = _build_milliseconds(lifetime)
        frame = build_frame(key, value, self._clock() + lifetime)
        head = frame[:HEAD_BYTES] if milliseconds else b""
        arguments = (frame, milliseconds, *self._build_announcement(key, name, head), *more)
        command = build_script_command(script, name.redis_key, *arguments)
        return bool(self._change(operation, key, name, command, durable=durable))

    def _change(
        self, operation: str, key: str, name: _Name, command: scripts.Command, *, durable: bool = False
    ) -> Reply:
        """Notes the change before it is heard of, and also when the call fails: it may have been made all the same."""
        try:
            return self._caller.call(operation, command, durable=durable)
        finally:
            if name.is_announced:
                self._changes.note(key)

    def _build_announcement(self, key: str, name: _Name, head: bytes) -> tuple[str, bytes]:
        return (self._channel, build_announcement(key, head)) if name.is_announced else ("", b"")

    def _build_gone_arguments(self, key: str, name: _Name) -> tuple[str, bytes]:
        return self._build_announcement(key, name, b"")

    def _build_name(self, key: str) -> _Name:
        match = _KEY.fullmatch(key)
        if match is None:
            raise ValueError("a key is kind:name, in plain ASCII")
        kind = match["kind"]
        return _Name(f"{self._key_prefix}{kind}:{{{match['name']}}}", is_announced=kind in ANNOUNCED_KINDS)

    def _complain_once(self, key: str, reason: str) -> None:
        if self._complaints.is_new(key, reason):
            _log.warning("store.record_unreadable", kind=key.partition(":")[0], reason=reason)


def _is_announced(key: str) -> bool:
    return key.partition(":")[0] in ANNOUNCED_KINDS


def _build_milliseconds(seconds: float) -> int:
    """0 only for what is over at once."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0
