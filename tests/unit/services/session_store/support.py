"""What the session tests share."""

from __future__ import annotations

from typing import Any

from app.services.key_ring import KeyRing
from app.services.session_store import NewSession
from app.settings.schema.settings_file import SessionSettings

IDLE, ABSOLUTE, TOUCH = 1800, 28800, 60
KEY_RING = KeyRing([bytes(range(32))])
"""What all workers of a test seal with."""

MALFORMED = {
    "L19-path": "../../etc/passwd",
    "L19-long": "a" * 10_240,
    "L19-nul": "\0" * 43,
    "L19-empty": "",
    "L19-short": "a" * 42,
    "L19-newline": "a" * 42 + "\n",
    "L19-trailing-newline": "a" * 43 + "\n",
    "L19-not-ascii": "ä" * 43,
    "L19-surrogate": "\ud800" * 43,
    "L19-standard-base64": "+/" + "a" * 41,
    "L19-padded": "a" * 42 + "=",
}


def build_settings(**changes: Any) -> SessionSettings:
    return SessionSettings.model_validate(
        {
            "idle_timeout_seconds": IDLE,
            "absolute_timeout_seconds": ABSOLUTE,
            "touch_interval_seconds": TOUCH,
            "local_cache_seconds": 2,
            **changes,
        }
    )


def build_login(**changes: Any) -> NewSession:
    facts: dict[str, Any] = {
        "user_id": "alice",
        "subject": "alice",
        "provider": "op.example.com",
        "issuer": "https://op.example.com",
        "idp_session_id": "op-session-1",
        "claims": {"name": "Alice", "roles": ["editor"]},
        "auth_time": 1_799_999_990,
        "acr": "urn:mfa",
        "device": "Firefox",
    }
    return NewSession(**{**facts, **changes})
