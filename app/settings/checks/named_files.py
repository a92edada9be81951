"""Files that settings name must be there and readable before the first call needs them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from app.settings.checks.draft import Draft, value_at
from app.settings.findings import Finding
from app.settings.secret_files import SecretFileError, load_secret, tell_wanted_file

_KEY_BYTES = 32
_LARGEST_KEY_FILE_BYTES = 64 * 1024
_SHORTEST_ADMIN_TOKEN = 32
_ADMIN_TOKEN = rf"[A-Za-z0-9\-._~+/]{{{_SHORTEST_ADMIN_TOKEN},}}=*"


def check_named_files(draft: Draft) -> Iterator[Finding]:
    settings = draft.settings
    named = [
        ("oidc", "ca_file"),
        ("session", "redis", "ca_file"),
        ("tokens", "data_key_file"),
        ("admin", "token_file"),
    ]
    for path in named:
        if wanted := _find_obstacle(str(value_at(settings, path))):
            yield draft.in_settings(*path, wanted=wanted)
    token_file = settings.admin.token_file
    if token_file and not _find_obstacle(token_file) and not _holds_bearer_token(Path(token_file)):
        wanted = (
            f"a file with one token of at least {_SHORTEST_ADMIN_TOKEN} letters, digits and -._~+/ "
            "(openssl rand -hex 32)"
        )
        yield draft.in_settings("admin", "token_file", wanted=wanted)
    key_file = settings.tokens.data_key_file
    if key_file and not _find_obstacle(key_file) and not _holds_data_keys(Path(key_file)):
        wanted = "a file of keys, each 32 random bytes in base64 on a line of its own (openssl rand -base64 32)"
        yield draft.in_settings("tokens", "data_key_file", wanted=wanted)
    if wanted := _find_obstacle(draft.pdp.connection.ca_file):
        yield draft.in_pdp("connection", "ca_file", wanted=wanted)
    for name, service in draft.routes.services.items():
        for key in ("ca_file", "cert_file", "key_file"):
            if wanted := _find_obstacle(getattr(service.tls, key)):
                yield draft.in_routes("services", name, "tls", key, wanted=wanted)


def _find_obstacle(path: str) -> str:
    """What is wanted instead of this file; empty when it can be read, or none is named."""
    if not path:
        return ""
    try:
        with Path(path).open("rb"):
            return ""
    except (OSError, ValueError) as error:
        return tell_wanted_file(error)


def _holds_bearer_token(path: Path) -> bool:
    """Whether it can be sent as one (RFC 6750 §2.1) and is too long to be guessed."""
    try:
        return re.fullmatch(_ADMIN_TOKEN, load_secret(path)) is not None
    except SecretFileError:
        return False


def _holds_data_keys(path: Path) -> bool:
    """Whether every line is a key by its form; who opens the file later judges it more closely."""
    try:
        lines = [line for line in path.read_bytes()[:_LARGEST_KEY_FILE_BYTES].splitlines() if line.strip()]
        return bool(lines) and all(len(base64.b64decode(line.strip(), validate=True)) == _KEY_BYTES for line in lines)
    except binascii.Error:
        return False
