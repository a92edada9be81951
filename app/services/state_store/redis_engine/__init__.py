"""The Redis engine. Needs the extra `redis`; imported only where Redis is used."""

from app.services.state_store.redis_engine.opening import open_redis_state_store
from app.services.state_store.redis_engine.store import RedisStateStore

__all__ = ["RedisStateStore", "open_redis_state_store"]
