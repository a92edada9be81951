"""Files that settings name must be there and readable before the first call needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.settings.checks.draft import Draft
from app.settings.findings import Finding

_WANTED = "a file that can be read"


def check_named_files(draft: Draft) -> Iterator[Finding]:
    settings = draft.settings
    named = [
        ("oidc", "ca_file"),
        ("session", "redis", "ca_file"),
        ("tokens", "data_key_file"),
        ("admin", "token_file"),
    ]
    for path in named:
        section: object = settings
        for step in path:
            section = getattr(section, step)
        if not _is_readable(str(section)):
            yield draft.in_settings(*path, wanted=_WANTED)
    if not _is_readable(draft.pdp.connection.ca_file):
        yield draft.in_pdp("connection", "ca_file", wanted=_WANTED)
    for name, service in draft.routes.services.items():
        for key in ("ca_file", "cert_file", "key_file"):
            if not _is_readable(getattr(service.tls, key)):
                yield draft.in_routes("services", name, "tls", key, wanted=_WANTED)


def _is_readable(path: str) -> bool:
    if not path:
        return True
    try:
        with Path(path).open("rb"):
            return True
    except (OSError, ValueError):
        return False
