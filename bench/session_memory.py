"""How much memory does a session cost, in Redis and in a worker?

    .venv/bin/python -m bench.session_memory [--sessions 10000]

Logs sessions in through the stores, each of a user of its own, with tokens of usual sizes; then a fresh process, as a
worker would, reads them all, so that it holds a copy of each. Prints bytes per session.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app.services.key_ring import KeyRing, load_or_create_key_ring
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.redis_engine import open_redis_state_store
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.session_section import RedisSettings, SessionSettings
from tests.support.redis_servers import running_redis

LIFETIME_SECONDS = 3600
ACCESS_TOKEN_BYTES, ID_TOKEN_BYTES, REFRESH_TOKEN_BYTES = 900, 700, 64
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def open_stores(url: str, key_ring: KeyRing) -> tuple[Any, SessionStore, TokenStore]:
    state = open_redis_state_store(url, RedisSettings(), time.time)
    state.start()
    settings = SessionSettings.model_validate({"local_cache_seconds": 60})
    sessions = SessionStore(state, key_ring, settings=settings, clock=time.time)
    return state, sessions, TokenStore(state, key_ring, clock=time.time, local_cache_seconds=60)


def log_in(sessions: SessionStore, tokens: TokenStore, number: int) -> str:
    claims = {"name": f"User {number}", "email": f"user{number}@example.com", "roles": ["user", "editor"]}
    login = NewSession(
        f"user-{number}",
        f"user-{number}",
        "op",
        "https://op.example.com",
        claims,
        secrets.token_hex(16),
        device=USER_AGENT,
    )
    session_id, _ = sessions.create(login)
    token_set = TokenSet(
        access_token=secrets.token_urlsafe(ACCESS_TOKEN_BYTES * 3 // 4),
        token_type="Bearer",
        expires_at=time.time() + LIFETIME_SECONDS,
        refresh_token=secrets.token_urlsafe(REFRESH_TOKEN_BYTES * 3 // 4),
        id_token=secrets.token_urlsafe(ID_TOKEN_BYTES * 3 // 4),
    )
    if not tokens.save(sessions.session_key(session_id), token_set, LIFETIME_SECONDS):
        raise RuntimeError("the tokens were not saved")
    return session_id


def read_resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def be_worker(url: str, key_file: Path, ids_file: Path) -> None:
    """Reads every session with its tokens once, and prints how much that made this process grow."""
    ids = ids_file.read_text(encoding="ascii").split()
    state, sessions, tokens = open_stores(url, load_or_create_key_ring(key_file))
    for session_id in ids[:100]:  # what the first reads bring in is not the sessions'
        sessions.find(session_id)
        tokens.find(sessions.session_key(session_id))
    before = read_resident_bytes()
    for session_id in ids[100:]:
        if sessions.find(session_id) is None or tokens.find(sessions.session_key(session_id)) is None:
            raise RuntimeError("a session is missing")
    print(json.dumps({"per_session": (read_resident_bytes() - before) / (len(ids) - 100)}))
    state.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        url, key_file, ids_file = arguments.worker
        be_worker(url, Path(key_file), Path(ids_file))
        return
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        key_file, ids_file = Path(folder) / "keys", Path(folder) / "ids"
        state, sessions, tokens = open_stores(redis.url, load_or_create_key_ring(key_file))
        log_in(sessions, tokens, -1)
        before = redis.read_section("memory")["used_memory"]
        ids = [log_in(sessions, tokens, number) for number in range(arguments.sessions)]
        in_redis = (redis.read_section("memory")["used_memory"] - before) / len(ids)
        keys = int(redis.command("DBSIZE"))
        state.close()
        ids_file.write_text("\n".join(ids), encoding="ascii")
        worker = subprocess.run(
            [sys.executable, "-m", "bench.session_memory", "--worker", redis.url, str(key_file), str(ids_file)],
            check=True,
            capture_output=True,
            text=True,
        )
    in_worker = json.loads(worker.stdout.splitlines()[-1])["per_session"]
    print(f"{len(ids)} sessions, {keys / len(ids):.1f} keys each")
    print(f"in Redis:    {in_redis:8.0f} bytes a session")
    print(f"in a worker: {in_worker:8.0f} bytes a session that it has a copy of")


if __name__ == "__main__":
    main()
