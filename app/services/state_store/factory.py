"""Opens the store that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.interface import StateStore
from app.settings.schema.session_section import SessionSettings


class RedisNotInstalledError(Exception):
    """`session.store: redis` without the package. Says what to install."""


def build_state_store(settings: SessionSettings, clock: Callable[[], float]) -> StateStore:
    """Connects to nothing: with Redis a start succeeds while Redis is down. `start` is the caller's, after the fork.

    Raises `UnsafePermissionsError` or `OSError` for a directory or a `ca_file` that cannot be used, `RedisUrlError`,
    and `RedisNotInstalledError`.
    """
    if settings.store == "filesystem":
        return DirectoryStateStore(Path(settings.directory), clock)
    try:
        # The package is an extra: with the directory store it need not be there.
        from app.services.state_store.redis_engine import open_redis_state_store
    except ModuleNotFoundError as error:
        raise RedisNotInstalledError(
            "session.store is redis, but the Python package is not installed: pip install 'bff-server[redis]'."
        ) from error
    return open_redis_state_store(settings.redis_url.get_secret_value(), settings.redis, clock)
