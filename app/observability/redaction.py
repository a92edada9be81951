"""Takes secrets out of what is about to be logged: by the name they stand under and by what they look like.

The second line of defence only. Code does not log tokens, codes, states or cookie values in the first place; this
catches what comes in through somebody else's exception message or log call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from datetime import datetime
from pathlib import PurePath

from app.core import errors

REDACTED = "[redacted]"
MAX_TEXT_CHARS = 2000
_MAX_DEPTH = 6

_SECRET_WORDS = frozenset(
    {
        "authorization",
        "assertion",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "jwt",
        "nonce",
        "passphrase",
        "password",
        "passwd",
        "secret",
        "secrets",
        "ticket",
        "token",
        "tokens",
        "verifier",
    }
)
_SECRET_NAMES = frozenset({"api_key", "code", "data_key", "private_key", "session_id", "session_state", "state"})
_HARMLESS_NAMES = frozenset({"cookie_name", "token_endpoint", "token_mode", "token_type"})
_ERROR_CODES = frozenset(
    error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")
)

_PARAMETERS = (
    r"code|state|token|id_token|access_token|refresh_token|logout_token|subject_token|actor_token|id_token_hint|"
    r"client_secret|client_assertion|assertion|code_verifier|nonce|password|ticket|response|request|session_state|"
    r"csrf_token|initial_access_token|registration_access_token"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A compact JWS or JWE (RFC 7515 §7.1, RFC 7516 §7.1): its header is a JSON object, so it begins with `eyJ`.
    (re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*"), REDACTED),
    (re.compile(r"(?i)(bearer|dpop|basic)\s+[A-Za-z0-9._~+/=-]+"), rf"\1 {REDACTED}"),
    # A header line in a message; in a repr of bytes its end is a written-out \r, and a \n stands before it.
    (
        re.compile(
            r"(?i)(authorization|cookie|x-csrf-token)(['\"]?\s*:\s*)"
            r"(?:(?!\\r|\\n)[^\r\n])+"
        ),
        rf"\1\2{REDACTED}",
    ),
    # A query or form parameter, a member of a JSON object or of a dict's repr.
    (re.compile(rf"(?i)(?:(?<![\w-])|(?<=\\n))({_PARAMETERS})=[^&\s\"'<>;,)]+"), rf"\1={REDACTED}"),
    (re.compile(rf"(?i)([\"'](?:{_PARAMETERS})[\"']\s*:\s*)([\"']).*?\2"), rf"\1\2{REDACTED}\2"),
    (re.compile(r"(bff_[\w-]+)=[^;\s\"']+"), rf"\1={REDACTED}"),
    # Credentials in a URL (RFC 3986 §3.2.1).
    (re.compile(r"(?<=://)[^/\s@\"']+@"), f"{REDACTED}@"),
)


def is_secret_name(name: str) -> bool:
    """Tells whether values under this name are secret, however it is spelled (`accessToken`, `Set-Cookie`)."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").replace(".", "_").lower()
    if parts in _HARMLESS_NAMES:
        return False
    return parts in _SECRET_NAMES or not _SECRET_WORDS.isdisjoint(parts.split("_"))


def redact_text(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Replaces what looks like a secret within a text; what is longer than `max_chars` is cut."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    # Lone surrogates (undecodable bytes of a file name) have no UTF-8 form.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= max_chars else f"{text[:max_chars]}…"


def redact_field(name: str, value: object, depth: int = 0) -> object:
    """Returns `value` as it may be logged under `name`: JSON types only, secrets replaced."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name):
        # `code` is also what an error of ours is called by.
        return value if name == "code" and isinstance(value, str) and value in _ERROR_CODES else REDACTED
    return _redact_value(value, depth)


def _redact_value(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float | datetime):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {redact_text(str(key)): redact_field(str(key), item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | Set):
            return [_redact_value(item, depth + 1) for item in value]
    if isinstance(value, BaseException | PurePath):
        return redact_text(str(value))
    # Neither bytes nor an object's repr: nobody vouches for what they show.
    return f"<{type(value).__name__}>"
