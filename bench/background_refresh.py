"""Do two instances keep up when the tokens of many sessions fall due within a minute?

    .venv/bin/python -m bench.background_refresh [--store redis|directory] [--sessions 10000] [--endpoint-ms 5]

Writes sessions and their tokens through the stores, starts two instances (processes of one worker each, under gevent)
that run nothing but the background refresh, and a token endpoint that rotates refresh tokens and notices when one is
used twice. Prints how many were refreshed, how many of them before their token was over, and what it cost.
"""

from __future__ import annotations

import sys

# In an instance the patch has to come before every other import.
if sys.argv[1:2] == ["instance"]:
    from gevent import monkey

    monkey.patch_all()

import argparse
import asyncio
import json
import os
import random
import resource
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import requests

AHEAD_SECONDS, INTERVAL_SECONDS, LIFETIME_SECONDS, WINDOW_SECONDS = 60, 30, 300, 60
INSTANCES = 2


# The token endpoint


class TokenEndpoint:
    """Refresh tokens are `r.<session>.<use>`; one that was used before is a fault, and is counted."""

    def __init__(self, answer_seconds: float) -> None:
        self.answer_seconds = answer_seconds
        self.uses: dict[int, int] = {}
        self.first_refresh_at: dict[int, float] = {}
        self.reused = 0
        self.port = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        print(self.port, flush=True)
        await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            length = next(
                (int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0
            )
            body = (await reader.readexactly(length)).decode()
            status, document = await self._answer(head.split(" ")[1], body)
            content = json.dumps(document).encode()
            lines = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            writer.write(lines.encode() + content)

    async def _answer(self, path: str, body: str) -> tuple[int, dict[str, Any]]:
        if path == "/token":
            await asyncio.sleep(self.answer_seconds)
            return self._refresh(parse_qs(body)["refresh_token"][0])
        if path == "/stats":
            return 200, {"reused": self.reused, "first_refresh_at": self.first_refresh_at}
        if path == "/count":
            return 200, {"count": len(self.first_refresh_at)}
        issuer = f"http://127.0.0.1:{self.port}"
        ends = {"authorization_endpoint": "/a", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        return 200, {"issuer": issuer, **{name: issuer + end for name, end in ends.items()}}

    def _refresh(self, refresh_token: str) -> tuple[int, dict[str, Any]]:
        _, session, use = refresh_token.split(".")
        number = int(session)
        if int(use) != self.uses.get(number, 0):
            self.reused += 1
            return 400, {"error": "invalid_grant"}
        self.uses[number] = int(use) + 1
        self.first_refresh_at.setdefault(number, time.time())
        return 200, {
            "access_token": secrets.token_urlsafe(600),
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
            "refresh_token": f"r.{number}.{int(use) + 1}",
        }


# One worker


def build_stores(place: str, key: bytes) -> Any:
    from app.services.key_ring import KeyRing
    from app.services.session_store import SessionStore
    from app.services.state_store.directory import DirectoryStateStore
    from app.services.token_store import TokenStore
    from app.settings.schema.session_section import RedisSettings, SessionSettings

    if place.startswith("redis:"):
        from app.services.state_store.redis_engine import open_redis_state_store

        state: Any = open_redis_state_store(place, RedisSettings(), time.time)
    else:
        state = DirectoryStateStore(Path(place), time.time)
    key_ring = KeyRing([key])
    tokens = TokenStore(state, key_ring, clock=time.time, local_cache_seconds=2)
    return state, SessionStore(state, key_ring, settings=SessionSettings(), clock=time.time), tokens


def build_agenda(state: Any) -> Any:
    from app.services.refresh_agenda import RefreshAgenda

    return RefreshAgenda(
        state,
        refresh_ahead_seconds=AHEAD_SECONDS,
        interval_seconds=INTERVAL_SECONDS,
        lease_seconds=60,
        clock=time.time,
    )


def run_instance(place: str, key: bytes, issuer: str) -> None:
    """Until SIGTERM; then says what it did and what it cost."""
    from app.services.control_http import ControlHttp
    from app.services.oidc_claims import ClaimSelection
    from app.services.oidc_client import OidcClient
    from app.services.refreshed_claims import RefreshedClaims
    from app.services.session_tokens import SessionTokens
    from app.services.token_refresher import TokenRefresher
    from app.settings.schema.settings_file import OidcSettings

    state, sessions, tokens = build_stores(place, key)
    state.start()
    agenda = build_agenda(state)
    oidc = {"issuer": issuer, "client_id": "bff", "client_auth": "client_secret_basic", "client_secret": "s" * 32}
    refreshes: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    oidc_client = OidcClient(
        OidcSettings.model_validate(oidc), http=ControlHttp(timeout_seconds=10), clock=time.time, allow_http=True
    )
    session_tokens = SessionTokens(
        oidc_client=oidc_client,
        session_store=sessions,
        token_store=tokens,
        state_store=state,
        refresh_ahead_seconds=AHEAD_SECONDS,
        idp_timeout_seconds=10,
        refreshed_claims=RefreshedClaims(
            oidc_client=oidc_client,
            session_store=sessions,
            selection=ClaimSelection(role_sources=("roles",), permission_sources=("permissions",), kept=()),
            asks_userinfo=False,
        ),
        count_refresh=lambda outcome: refreshes.update([outcome]),
        count_session_ended=lambda _reason: None,
        clock=time.time,
        schedule=agenda.schedule,
    )
    refresher = TokenRefresher(
        agenda,
        renew=session_tokens.renew_due,
        is_worth_renewing=lambda session_key: sessions.find_by_key(session_key) is not None,
        count=lambda outcome: outcomes.update([outcome]),
    )
    told_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    before = resource.getrusage(resource.RUSAGE_SELF)
    refresher.start()
    while not told_to_stop.wait(0.2):
        pass
    refresher.stop(20)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"refreshes": refreshes, "outcomes": outcomes, "cpu_seconds": cpu_seconds}), flush=True)


# The measurement


def spawn(stack: ExitStack, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, *arguments], stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def open_place(stack: ExitStack, store: str, folder: Path) -> tuple[str, Any]:
    if store == "directory":
        return str(folder / "state"), None
    from tests.support.redis_servers import running_redis

    server = stack.enter_context(running_redis(folder))
    return server.url, server


def count_commands(server: Any) -> Counter[str]:
    return Counter({name[8:]: stats["calls"] for name, stats in server.read_section("commandstats").items()})


def log_in_all(place: str, key: bytes, count: int) -> dict[int, float]:
    """Returns when each session's token is over: due within `WINDOW_SECONDS`, which begin once all are written."""
    from app.services.session_store import NewSession
    from app.services.token_store import TokenSet

    state, sessions, tokens = build_stores(place, key)
    agenda = build_agenda(state)
    keys = []
    began_at = time.time()
    for number in range(count):
        claims = {"name": f"User {number}", "email": f"user{number}@example.com", "roles": ["reader", "writer"]}
        login = NewSession(
            user_id=f"u{number}", subject=f"u{number}", provider="bench", issuer="https://op", claims=claims
        )
        session_id, _ = sessions.create(login)
        keys.append(sessions.session_key(session_id))
    writing_seconds = time.time() - began_at
    print(f"{count} sessions written in {writing_seconds:.1f} s")
    window_begins_at = (
        time.time() + writing_seconds * 1.5 + 10
    )  # their tokens take about as long, and instances to start
    ends: dict[int, float] = {}
    for number, session_key in enumerate(keys):
        expires_at = window_begins_at + AHEAD_SECONDS + random.uniform(0, WINDOW_SECONDS)
        token_set = TokenSet(
            access_token=secrets.token_urlsafe(600),
            token_type="Bearer",
            expires_at=expires_at,
            refresh_token=f"r.{number}.0",
            id_token=secrets.token_urlsafe(600),
            obtained_at=expires_at - LIFETIME_SECONDS,
        )
        tokens.save(session_key, token_set, 28800)
        agenda.schedule(session_key, expires_at - AHEAD_SECONDS)
        ends[number] = expires_at
    print(f"tokens written, {window_begins_at - time.time():.1f} s before the first falls due")
    return ends


def measure(store: str, count: int, endpoint_seconds: float) -> None:
    key = secrets.token_bytes(32)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place, server = open_place(stack, store, folder)
        endpoint = spawn(stack, "endpoint", str(endpoint_seconds))
        issuer = f"http://127.0.0.1:{int(endpoint.stdout.readline())}"  # type: ignore[union-attr]
        ends = log_in_all(place, key, count)
        commands_before = count_commands(server) if server else Counter()
        instances = [spawn(stack, "instance", place, key.hex(), issuer) for _ in range(INSTANCES)]
        last_end_at = max(ends.values())
        while requests.get(f"{issuer}/count", timeout=10).json()["count"] < count and time.time() < last_end_at + 30:
            time.sleep(0.5)
        stats = requests.get(f"{issuer}/stats", timeout=30).json()
        for instance in instances:
            instance.send_signal(signal.SIGTERM)
        reports = [json.loads(instance.communicate()[0]) for instance in instances]
        report(ends, stats, reports)
        if server:
            spent = count_commands(server) - commands_before
            print("Redis commands a refresh:", {name: round(calls / count, 2) for name, calls in spent.most_common(12)})


def report(ends: dict[int, float], stats: dict[str, Any], reports: list[dict[str, Any]]) -> None:
    refreshed = {int(number): at for number, at in stats["first_refresh_at"].items()}
    left = sorted(ends[number] - at for number, at in refreshed.items())
    completed = sum(each["refreshes"].get("completed", 0) for each in reports)
    print(f"refreshed: {len(refreshed)} of {len(ends)}, by {completed} refreshes; used twice: {stats['reused']}")
    print(f"before the token was over: {sum(seconds > 0 for seconds in left)}")
    print(f"time that was left: least {left[0]:.1f} s, median {left[len(left) // 2]:.1f} s")
    first_due_at = min(ends.values()) - AHEAD_SECONDS
    print(f"from the first due to the last refresh: {max(refreshed.values()) - first_due_at:.1f} s")
    for each in reports:
        done = each["refreshes"].get("completed", 0)
        milliseconds = each["cpu_seconds"] / max(done, 1) * 1000
        print(f"an instance: {each['outcomes']}, {each['cpu_seconds']:.1f} s CPU, {milliseconds:.2f} ms a refresh")


def main() -> None:
    if sys.argv[1:2] == ["endpoint"]:
        asyncio.run(TokenEndpoint(float(sys.argv[2])).serve())
    elif sys.argv[1:2] == ["instance"]:
        run_instance(sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4])
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--store", choices=["redis", "directory"], default="redis")
        parser.add_argument("--sessions", type=int, default=10_000)
        parser.add_argument("--endpoint-ms", type=float, default=5)
        arguments = parser.parse_args()
        print(f"{arguments.store}, {os.cpu_count()} cores, {INSTANCES} instances")
        measure(arguments.store, arguments.sessions, arguments.endpoint_ms / 1000)


if __name__ == "__main__":
    main()
