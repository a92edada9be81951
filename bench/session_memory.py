"""How much memory does a session take, in Redis and in a worker?

    .venv/bin/python -m bench.session_memory [--sessions 10000]

Writes sessions with their tokens through the stores, as logins do: the two records, the indexes, and the agenda of
renewals. Tells what Redis needs for them, by kind, and how much a worker grows that has seen all of them within
`local_cache_seconds` (2 s), and one that has seen them within ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.services.key_ring import KeyRing
from app.services.refresh_agenda import RefreshAgenda
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.redis_engine import open_redis_state_store
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.session_section import RedisSettings, SessionSettings
from tests.support.redis_servers import RedisServer, running_redis

JWT_BYTES, REFRESH_TOKEN_BYTES = 900, 43
KINDS = ("session", "tokens", "sessions-of-user", "sessions-of-sid", "sessions-of-shard", "agenda")
SAMPLE = 500
SLOW_SECONDS = 600


class Stores:
    def __init__(self, url: str, key: bytes, clock: Callable[[], float], local_cache_seconds: float = 2) -> None:
        self.state = open_redis_state_store(url, RedisSettings(), time.time)
        key_ring = KeyRing([key])
        settings = SessionSettings(local_cache_seconds=local_cache_seconds)
        self.tokens = TokenStore(self.state, key_ring, clock=clock, local_cache_seconds=local_cache_seconds)
        self.sessions = SessionStore(
            self.state, key_ring, settings=settings, clock=clock, keep_tokens=self.tokens.keep_read
        )

    def log_in(self, number: int, agenda: RefreshAgenda) -> str:
        login = NewSession(
            user_id=f"9f2c4a5e-{number:012}",
            subject=f"9f2c4a5e-{number:012}",
            provider="op.example.com",
            issuer="https://op.example.com",
            idp_session_id=secrets.token_urlsafe(16),
            claims={
                "name": f"Alexandra Mustermann {number}",
                "email": f"user{number}@example.com",
                "roles": ["reader", "writer"],
                "permissions": ["forms.read", "forms.write", "reports.read"],
            },
            auth_time=int(time.time()),
            device="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        session_id, _ = self.sessions.create(login)
        session_key = self.sessions.session_key(session_id)
        now = time.time()
        tokens = TokenSet(
            access_token=_make_text(JWT_BYTES),
            token_type="Bearer",
            expires_at=now + 300,
            refresh_token=_make_text(REFRESH_TOKEN_BYTES),
            id_token=_make_text(JWT_BYTES),
            scope="openid profile email offline_access",
            obtained_at=now,
        )
        assert self.tokens.save(session_key, tokens, 28800)
        agenda.schedule(session_key, now + 240)
        return session_key


def _make_text(length: int) -> str:
    return secrets.token_urlsafe(length)[:length]


def log_in_all(url: str, key: bytes, count: int) -> list[str]:
    stores = Stores(url, key, time.time)
    agenda = RefreshAgenda(
        stores.state, refresh_ahead_seconds=60, interval_seconds=30, lease_seconds=60, clock=time.time
    )
    try:
        return [stores.log_in(number, agenda) for number in range(count)]
    finally:
        stores.state.close()


# A worker: a process of its own, so that it has nothing else in it


def run_worker(url: str, key: bytes, within_seconds: float) -> None:
    """Looks at all sessions and their tokens; the time that passes meanwhile is `within_seconds`."""
    session_keys = json.load(sys.stdin)
    now = time.time()
    stores = Stores(url, key, lambda: now)
    stores.sessions.find_by_key(session_keys[0])  # opens the connection
    before = read_resident_bytes()
    for session_key in session_keys:
        now += within_seconds / len(session_keys)
        assert stores.sessions.find_by_key(session_key)
        assert stores.tokens.find(session_key)
    print(json.dumps((read_resident_bytes() - before) / len(session_keys)))


def read_resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def measure_worker(url: str, key: bytes, session_keys: list[str], within_seconds: float) -> float:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "worker", url, key.hex(), str(within_seconds)],
        input=json.dumps(session_keys),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout))


# Redis


def measure_kind(server: RedisServer, kind: str, count: int) -> tuple[int, float]:
    """Returns how many keys of a kind there are, and what they take for each session, by a sample of them."""
    with server.admin(timeout_seconds=60) as admin:
        keys = list(admin.scan_iter(match=f"bff:{kind}:*", count=1000))
        sample = keys[:SAMPLE]
        used = sum(int(admin.memory_usage(key, samples=0)) for key in sample)
    return len(keys), used / len(sample) * len(keys) / count


def measure(count: int) -> None:
    key = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        before = read_memory(server)
        session_keys = log_in_all(server.url, key, count)
        after = read_memory(server)
        for name in ("used_memory", "used_memory_rss"):
            print(f"Redis, {name}: {(after[name] - before[name]) / count:.0f} bytes a session")
        for kind in KINDS:
            keys, used = measure_kind(server, kind, count)
            print(f"  {kind:18} {keys:6} keys, {used:6.0f} bytes a session")
        for within_seconds in (0.0, SLOW_SECONDS):
            grown = measure_worker(server.url, key, session_keys, within_seconds)
            print(f"a worker that has seen them all within {within_seconds:.0f} s: {grown:.0f} bytes a session")


def read_memory(server: RedisServer) -> dict[str, Any]:
    return server.read_section("memory")


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        run_worker(sys.argv[2], bytes.fromhex(sys.argv[3]), float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000)
    count = parser.parse_args().sessions
    print(f"{count} sessions, {os.cpu_count()} cores")
    measure(count)


if __name__ == "__main__":
    main()
