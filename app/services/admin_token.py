"""The token that whoever calls `/admin` has to show (`admin.token_file`), as a bearer token (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from app.core.access_token import build_token_refusal, parse_bearer_token
from app.core.errors import AccessDeniedError
from app.settings import Settings
from app.settings.secret_files import load_secret


class AdminToken:
    """Read once, at start. Only its hash is kept, so that no dump of the process holds what opens `/admin`."""

    def __init__(self, token: str) -> None:
        """Empty: nobody may call."""
        self._digest = _hash(token) if token else None

    @classmethod
    def from_settings(cls, settings: Settings) -> AdminToken:
        """Raises `SecretFileError`; the start-up check has looked at the file before."""
        token_file = settings.admin.token_file
        return cls(load_secret(Path(token_file)) if token_file else "")

    def check(self, authorization: str | None) -> None:
        """Raises `TokenInvalidError`, or `AccessDeniedError` where the settings name no token."""
        if self._digest is None:
            raise AccessDeniedError("The interface under /admin is off: the setting admin.token_file names no file.")
        if not hmac.compare_digest(_hash(parse_bearer_token(authorization)), self._digest):
            raise build_token_refusal("it is not the one in admin.token_file")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
