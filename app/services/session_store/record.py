"""What a session remembers: who logged in, when and how. Never a token.

Records lie in the store sealed, each for its own name: whoever can write there can neither make nor change one, nor put
one in another's place. A session is what its seal says, so nothing that is not sealed may decide whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from app.core.identity import Identity
from app.services.key_ring import KeyRing
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
    claims_version: int = 0
    """Counts the changes of `claims`; decisions that were made with others are not remembered for these."""
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


def build_identity(record: SessionRecord) -> Identity:
    """Returns who calls in this session."""
    return Identity(
        user_id=record.user_id,
        subject=record.subject,
        provider=record.provider,
        session_reference=record.reference,
        claims=record.claims,
        claims_version=record.claims_version,
    )


def seal_session_record(record: SessionRecord, key_ring: KeyRing, name: str) -> bytes:
    """Returns what lies in the store under `name`, and opens under no other. Raises `UnstorableRecordError`."""
    return key_ring.seal(encode_versioned(record), bound_to=name)


def open_session_record(sealed: bytes, key_ring: KeyRing, name: str) -> OpenedRecord:
    """Raises `SealBrokenError` for what no key of ours sealed under this name, and `UnreadableRecordError`."""
    plaintext = key_ring.open(sealed, bound_to=name)
    return OpenedRecord(decode_versioned(plaintext, _decoder, RECORD_VERSION), plaintext)


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record and what it was read from, which may hold fields that only a newer version knows."""

    record: SessionRecord
    plaintext: bytes = field(repr=False)

    def seal_changed(self, key_ring: KeyRing, name: str, **changes: object) -> bytes:
        """Changes these fields and keeps the others, also those that are not known here. Raises
        `UnstorableRecordError`."""
        fields = {**_map_decoder.decode(self.plaintext), **changes}
        return key_ring.seal(encode_versioned(fields), bound_to=name)


__all__ = [
    "LONGEST_DEVICE",
    "RECORD_VERSION",
    "NewSession",
    "OpenedRecord",
    "SessionRecord",
    "UnreadableRecordError",
    "build_identity",
    "build_session_record",
    "open_session_record",
    "seal_session_record",
]
