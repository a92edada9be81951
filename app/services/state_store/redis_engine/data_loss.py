"""Notices that Redis came back without what it held, so that the log says why everybody has to log in again.

The first worker leaves a random name in Redis. Whoever finds another one there later knows that the records are gone: a
restart without persistence, a FLUSHALL, a failover to a replica that had nothing. Of a cluster this watches one slot.
"""

from __future__ import annotations

import secrets

import structlog

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.scripts import Script, build_script_command

_NAME_BYTES = 16

NAME_ONCE = Script.from_source(
    """local name = redis.call('GET', KEYS[1])
if name then return name end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]"""
)

_log = structlog.get_logger(__name__)


class DataLossWatch:
    def __init__(self, caller: RedisCaller, redis_key: str) -> None:
        self._caller = caller
        self._redis_key = redis_key
        self._name: bytes | None = None

    def look(self) -> None:
        """To be called whenever a connection was lost and is there again. Does not fail; an absent Redis is no loss."""
        suggestion = secrets.token_hex(_NAME_BYTES)
        try:
            found = self._caller.call("look", build_script_command(NAME_ONCE, self._redis_key, suggestion))
        except StoreUnavailableError:
            return
        if self._name is not None and found != self._name:
            _log.error("store.came_back_empty", meaning="sessions are gone, and everybody has to log in again")
        self._name = found
