"""What a proxied call costs at the worker door, apart from what the kernel and the backend take: CPU, step by step.

    .venv/bin/python -m bench.hot_path [--rounds 3000] [--profile]

A call as a browser sends it: GET of small JSON with a session in a directory, a mapped permission whose decision is
remembered, a token, an access record and metrics. The client's socket takes everything and the backend's answer is at
hand, so what is measured is our own code up to the exchange with the backend, and after it. Each figure is CPU time of
the process for one call, the best of several rounds.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

from app.gateway.fast_head import HeadLimits
from app.gateway.known_heads import KnownHeads, ReadHead
from app.gateway.pipeline import Pipeline
from app.gateway.worker_door import WorkerDoor
from app.observability import lines
from app.services.pdp_answers import Decision
from app.services.session_store import NewSession
from app.services.upstream_response import UpstreamResponse
from app.services.upstream_response_head import parse_response_head
from app.settings import load_configuration
from app.wiring import Services, build_services

BEST_OF = 7
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 28 Nov 2026 19:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 33\r\nConnection: keep-alive\r\n\r\n"
    b'{"items":[1,2,3],"name":"a form"}'
)
SETTINGS: dict[str, Any] = {
    "environment": "development",
    "server": {"public_url": "http://localhost:8000"},
    "oidc": {
        "issuer": "http://localhost:9",
        "client_id": "bench",
        "client_auth": "client_secret_basic",
        "client_secret": "of-nobody-and-for-nothing-but-this-run",
    },
}
ROUTES: dict[str, Any] = {
    "services": {
        "crud": {"base_url": "http://127.0.0.1:9/v1", "token": {"mode": "client_credentials", "audience": "crud"}}
    },
    "routes": [
        {
            "path": "/api/forms/*",
            "target_service": "crud",
            "upstream_path": "/forms/{path}",
            "auth": "session",
            "authz": "pdp",
            "methods": ["GET"],
            "authz_map": {"GET": {"resource": "form", "action": "read", "id_from": "{path}"}},
        },
        *(
            {
                "path": f"/api/other-{n}/*",
                "target_service": "crud",
                "upstream_path": "/{path}",
                "auth": "session",
                "authz": "none",
            }
            for n in range(50)
        ),
    ],
}
PDP = {"connection": {"base_url": "http://127.0.0.1:9"}, "subject_claims": ["roles"]}


class SilentSocket:
    """A client that takes everything at once."""

    def settimeout(self, seconds: float | None) -> None: ...

    def send(self, content: bytes) -> int:
        return len(content)


class ReadyPool:
    """Where a connection goes back to after its call."""

    def give_back(self, connection: object) -> None: ...

    def discard(self, connection: object) -> None: ...


class ReadyBackend:
    """Answers at once, with an answer that was parsed before."""

    def __init__(self) -> None:
        head = parse_response_head(ANSWER)
        assert head is not None
        self._head = head
        self._rest = ANSWER[head.size :]
        self._pool: Any = ReadyPool()
        self._connection: Any = object()

    def open(self, service: object, request: Any) -> UpstreamResponse:  # noqa: ARG002
        limits: Any = None
        return UpstreamResponse(
            self._head, request.method, self._rest, self._connection, self._pool, limits, is_request_sent=True
        )


class FixedTokens:
    def get(self, service: object, session_key: object) -> str:  # noqa: ARG002
        return "t" * 300


class Allowing:
    def evaluate(self, question: bytes, request_id: str) -> Decision:  # noqa: ARG002
        return Decision(is_allowed=True)

    def evaluate_all(self, questions: Any, request_id: str) -> list[Decision]:  # noqa: ARG002
        return [Decision(is_allowed=True) for _ in questions]


def build_pipeline(services: Services) -> Pipeline:
    """The product's own, but for a backend, a provider and a decision point that are only played."""
    point: Any = Allowing()
    services.authorization.authorizer._decision_point = point
    services.pipeline._tokens = FixedTokens()
    services.pipeline._upstream = ReadyBackend()
    return services.pipeline


def measure(run: Callable[[], object], rounds: int) -> float:
    """Microseconds of CPU for one run, the best of several rounds."""
    best = float("inf")
    for _ in range(BEST_OF):
        began = time.process_time()
        for _ in range(rounds):
            run()
        best = min(best, time.process_time() - began)
    return best / rounds * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["BFF_CONFIG_DIR"] = directory
        pipeline, request = build_call(Path(directory))
        lines.stdout.offer = drop_line  # type: ignore[method-assign]
        report(options, pipeline, request)


def build_call(folder: Path) -> tuple[Pipeline, bytes]:
    """Returns a pipeline, and a request of somebody who is logged in. `BFF_CONFIG_DIR` has to name `folder`."""
    state = {"session": {"directory": str(folder / "state")}, "keys": {"directory": str(folder / "keys")}}
    files = {
        "settings.yaml": {**SETTINGS, **state},
        "routes.yaml": ROUTES,
        "pdp.yaml": PDP,
        "idps.yaml": {"idps": []},
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))
    services = build_services(load_configuration())
    session_id, _ = services.session_store.create(
        NewSession(
            user_id="alice",
            subject="alice",
            provider="demo",
            issuer="http://localhost:9",
            claims={"name": "Alice", "roles": ["editor"]},
        )
    )
    request = (
        "GET /api/forms/7?expand=fields HTTP/1.1\r\nHost: localhost:8000\r\n"
        f"Cookie: theme=dark; bff_session={session_id}; bff_csrf=abc\r\nAccept: application/json\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0\r\n"
        "Accept-Language: en-GB,en;q=0.9\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"
        "Sec-Fetch-Dest: empty\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n"
    ).encode()
    return build_pipeline(services), request


def drop_line(line: object) -> None:
    """Queueing is what the call pays for; who writes is another thread."""


def build_door(pipeline: Pipeline) -> WorkerDoor:
    return WorkerDoor(pipeline, patience_seconds=30, is_alive=lambda: True)


def report(options: Any, pipeline: Pipeline, request: bytes) -> None:
    door = build_door(pipeline)
    config, limits, sock = Config(), HeadLimits(4094, 100, 8190), SilentSocket()
    for setting, value in {"limit_request_line": 4094, "secure_scheme_headers": {}, "forwarded_allow_ips": ""}.items():
        config.set(setting, value)

    def parse_slowly() -> Any:
        return Request(config, IterUnreader([request]), ("127.0.0.1", 1))

    heads = KnownHeads(limits, pipeline.read_head, pipeline.claim, time.monotonic)

    def parse_fast() -> ReadHead:
        head = heads.parse(request, "127.0.0.1")
        assert head is not None
        return head

    def carry_fast() -> bool:
        head = parse_fast()
        goes_on = door.carry_plain(head, sock, "127.0.0.1")
        heads.keep(head)
        return goes_on

    def carry_slowly() -> bool:
        req = parse_slowly()
        found = door.claim(req)
        assert found is not None
        return door.carry(found, req, sock, "127.0.0.1")

    head = parse_fast()
    assert carry_fast()
    assert carry_slowly()
    parts = {
        "head, gunicorn's parser": parse_slowly,
        "head, fast lane": parse_fast,
        "claim": lambda: pipeline.claim(head.raw_target),
        "door (pipeline and answer)": lambda: door.carry_plain(head, sock, "127.0.0.1"),
        "a call, fast lane": carry_fast,
        "a call, gunicorn's parser": carry_slowly,
    }
    for name, run in parts.items():
        print(f"{name:32} {measure(run, options.rounds):7.1f} us")
    if options.profile:
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(20000):
            carry_fast()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)


if __name__ == "__main__":
    main()
