"""Callers that differ from another one in something."""

from __future__ import annotations

from typing import Any

from app.core.identity import Identity

_FIELDS = ("user_id", "subject", "provider", "session_reference", "claims", "claims_version")


def change_identity(identity: Identity, **changes: Any) -> Identity:
    return Identity(**{name: getattr(identity, name) for name in _FIELDS} | changes)
