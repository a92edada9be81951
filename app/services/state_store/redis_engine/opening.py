"""Builds the Redis engine from a URL and settings. Connects to nothing."""

from __future__ import annotations

from collections.abc import Callable

from app.core.redis_address import RedisAddress, RedisKind, parse_redis_url
from app.services.state_store.redis_engine.caller import Budget, RedisCaller
from app.services.state_store.redis_engine.cluster import ClusterServers
from app.services.state_store.redis_engine.nodes import Nodes
from app.services.state_store.redis_engine.replication import Replication
from app.services.state_store.redis_engine.sentinels import SentinelServers
from app.services.state_store.redis_engine.store import RedisStateStore
from app.services.state_store.redis_engine.topology import SingleServer, Topology
from app.services.state_store.redis_engine.wire import WireOpener, build_tls_context
from app.settings.schema.session_section import RedisSettings


def open_redis_state_store(url: str, settings: RedisSettings, clock: Callable[[], float]) -> RedisStateStore:
    """Raises `RedisUrlError`, or `OSError` when `ca_file` cannot be used."""
    topology = build_topology(parse_redis_url(url), settings)
    caller = RedisCaller(
        topology, Budget(settings.timeout_seconds, settings.retries), Replication(settings.timeout_seconds)
    )
    return RedisStateStore(topology, caller, key_prefix=settings.key_prefix, clock=clock)


def build_topology(address: RedisAddress, settings: RedisSettings) -> Topology:
    timeout_seconds = settings.timeout_seconds
    tls = build_tls_context(settings.ca_file) if address.tls else None
    opener = WireOpener(
        timeout_seconds=timeout_seconds,
        user=address.user,
        password=address.password,
        database=address.database,
        tls=tls,
    )
    nodes = Nodes(opener, settings.max_connections)
    if address.kind is RedisKind.CLUSTER:
        return ClusterServers(address.hosts, nodes=nodes, timeout_seconds=timeout_seconds)
    if address.kind is RedisKind.SINGLE:
        return SingleServer(address.hosts[0], nodes)
    sentinel_opener = WireOpener(
        timeout_seconds=timeout_seconds,
        user=address.sentinel_user,
        password=address.sentinel_password,
        tls=tls,
    )
    return SentinelServers(
        address.hosts, address.master_name, nodes=nodes, opener=sentinel_opener, timeout_seconds=timeout_seconds
    )
