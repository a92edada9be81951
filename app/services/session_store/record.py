"""What a session remembers: who logged in, when and how. Never a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from app.services.state_store.versioned import UnreadableRecordError, decode_versioned, encode_versioned

RECORD_VERSION = 1
LONGEST_DEVICE = 256


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a login knows about the session it asks for. `idp_session_id` is the ID token's `sid`."""

    user_id: str
    subject: str
    provider: str
    issuer: str
    claims: Mapping[str, object] = field(repr=False)
    idp_session_id: str = ""
    auth_time: int | None = None
    acr: str = ""
    device: str = ""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it lies in the store. Times are epoch seconds.

    `reference` names the session to backends, logs and its user, and cannot be used as a cookie. Workers share one copy
    between requests, so what `claims` holds is not to be changed.
    """

    version: int = RECORD_VERSION
    reference: str
    user_id: str
    subject: str
    provider: str
    issuer: str
    idp_session_id: str = ""
    claims: Mapping[str, object]
    created_at: float
    last_seen_at: float
    auth_time: int | None = None
    acr: str = ""
    device: str = ""

    def __repr__(self) -> str:
        return f"<SessionRecord {self.reference}>"


_decoder = msgspec.msgpack.Decoder(SessionRecord)
_map_decoder = msgspec.msgpack.Decoder(dict[str, object])


def build_session_record(login: NewSession, *, reference: str, now: float) -> SessionRecord:
    return SessionRecord(
        reference=reference,
        user_id=login.user_id,
        subject=login.subject,
        provider=login.provider,
        issuer=login.issuer,
        idp_session_id=login.idp_session_id,
        claims=dict(login.claims),
        created_at=now,
        last_seen_at=now,
        auth_time=login.auth_time,
        acr=login.acr,
        device=login.device[:LONGEST_DEVICE],
    )


def encode_session_record(record: SessionRecord) -> bytes:
    """Raises `UnstorableRecordError`."""
    return encode_versioned(record)


def decode_session_record(value: bytes) -> SessionRecord:
    """Raises `UnreadableRecordError`."""
    return decode_versioned(value, _decoder, RECORD_VERSION)


def rewrite_last_seen(value: bytes, last_seen_at: float) -> bytes:
    """Changes that one field and keeps the others, also those that only a newer version knows."""
    fields = _map_decoder.decode(value)
    fields["last_seen_at"] = last_seen_at
    return msgspec.msgpack.encode(fields)


__all__ = [
    "LONGEST_DEVICE",
    "RECORD_VERSION",
    "NewSession",
    "SessionRecord",
    "UnreadableRecordError",
    "build_session_record",
    "decode_session_record",
    "encode_session_record",
    "rewrite_last_seen",
]
