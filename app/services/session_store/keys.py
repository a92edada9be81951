"""The names under which a session's records lie in the store.

A session id is the cookie's value and a bearer secret: the store only ever sees its SHA-256, the `session key`. All
records of one session end in that key. Users and IdP sessions are hashed as well: their names fit and tell nothing.

Whoever wants all sessions reads 256 lists, each session being in the one that its key begins with: a single list would
have to be rewritten, and in a cluster kept by one server, for every login there is.
"""

from __future__ import annotations

import hashlib
import re
import secrets

import msgspec

_SESSION_ID_BYTES = 32
_SHARD_CHARACTERS = 2
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def make_session_id() -> str:
    """256 random bits in base64url."""
    return secrets.token_urlsafe(_SESSION_ID_BYTES)


def is_session_id(value: str) -> bool:
    """Whether it could be one of ours; anything else is unknown without asking the store."""
    return _SESSION_ID.fullmatch(value) is not None


def build_session_key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("ascii")).hexdigest()


def build_session_record_name(session_key: str) -> str:
    return f"session:{session_key}"


def build_tokens_record_name(session_key: str) -> str:
    return f"tokens:{session_key}"


def build_tombstone_name(session_key: str) -> str:
    return f"tombstone:{session_key}"


def build_user_index_name(user_id: str) -> str:
    return f"sessions-of-user:{hashlib.sha256(user_id.encode()).hexdigest()}"


def build_subject_index_name(issuer: str, subject: str) -> str:
    """(issuer, `sub`), for users whose id is another claim."""
    return f"sessions-of-subject:{hashlib.sha256(msgspec.msgpack.encode((issuer, subject))).hexdigest()}"


def build_idp_session_index_name(issuer: str, idp_session_id: str) -> str:
    """(issuer, `sid`) names a session at the IdP; packed before hashing, so that no two pairs read the same."""
    return f"sessions-of-sid:{hashlib.sha256(msgspec.msgpack.encode((issuer, idp_session_id))).hexdigest()}"


def build_shard_index_name(session_key: str) -> str:
    return f"sessions-of-shard:{session_key[:_SHARD_CHARACTERS]}"


def list_shard_index_names() -> tuple[str, ...]:
    """The names of all lists that `build_shard_index_name` can give."""
    return tuple(build_shard_index_name(f"{number:02x}") for number in range(16**_SHARD_CHARACTERS))
