"""Opens the keys where the settings say they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.services.key_ring import KeyRing
from app.services.key_store.plan import RotationPolicy
from app.services.key_store.store import KeyStore
from app.services.private_document import DocumentFile, PrivateDocument, SealedDocument
from app.services.state_store import StateStore
from app.settings.schema.settings_file import KeySettings

FILE_NAME = "signing-keys.json"
RECORD_NAME = "signing-keys"
_HOLDS = "the signing keys"


def build_key_store(
    settings: KeySettings, *, state_store: StateStore, key_ring: KeyRing, clock: Callable[[], float]
) -> KeyStore:
    """Reads keys that are in a directory, and raises `KeyStoreError` when they cannot be used. Of Redis, which may be
    down at a start, nothing is asked before the keys are needed."""
    policy = RotationPolicy.from_settings(settings)
    if settings.store == "redis":
        return KeyStore(build_shared_key_document(state_store, key_ring), policy, clock=clock)
    key_store = KeyStore(build_key_directory_document(settings), policy, clock=clock)
    key_store.load()
    return key_store


def build_key_directory_document(settings: KeySettings) -> PrivateDocument:
    return DocumentFile(Path(settings.directory) / FILE_NAME, holds=_HOLDS)


def build_shared_key_document(state_store: StateStore, key_ring: KeyRing) -> PrivateDocument:
    return SealedDocument(RECORD_NAME, state_store, key_ring, holds=_HOLDS)
