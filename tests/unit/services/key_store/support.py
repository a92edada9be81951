"""Key stores as tests open them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.services.key_store import Algorithm, KeyStore, RotationPolicy
from app.services.key_store.factory import FILE_NAME
from app.services.private_document import DocumentFile

NOW = 1_700_000_000.0
DAY = 86_400.0


def build_policy(algorithm: Algorithm = "ES256", **changes: float) -> RotationPolicy:
    times = {"rotate_after_seconds": 30 * DAY, "publish_ahead_seconds": 3600.0, "retire_after_seconds": 60 * DAY}
    return RotationPolicy(algorithm=algorithm, **{**times, **changes})


def open_key_store(
    directory: Path,
    algorithm: Algorithm = "ES256",
    *,
    clock: Callable[[], float] = lambda: NOW,
    policy: RotationPolicy | None = None,
) -> KeyStore:
    """The keys in `directory`, read, with a first one made where there is none; the place is looked at every time."""
    document = DocumentFile(directory / FILE_NAME, holds="the signing keys")
    never_the_same = iter(range(0, 1_000_000_000, 10))
    key_store = KeyStore(
        document, policy or build_policy(algorithm), clock=clock, monotonic=lambda: float(next(never_the_same))
    )
    key_store.load()
    return key_store


def read_stored_keys(directory: Path) -> list[dict[str, Any]]:
    stored: list[dict[str, Any]] = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"]
    return stored
