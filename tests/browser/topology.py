"""`make demo-traefik`, as the browser tests start it: Traefik, two BFFs, Redis, the provider, the decision point, the
backend and the application. So whatever these tests see, somebody who runs the demo sees too.

The provider is at 127.0.0.1 and the application at localhost: two sites, as browsers see it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.run import FRONTEND
from tests.support.demo import PROJECT, build_demo_environment, descendants_of
from tests.support.processes import Child, free_port, start_server
from tests.support.real_op import RealOp


@dataclass(frozen=True, slots=True)
class Topology:
    demo: Child
    port: int
    op: RealOp
    development_port: int
    logs: Path

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def development_origin(self) -> str:
        """Where `npm run dev` serves: another origin of the same site, in `cors.allow_origins`."""
        return f"http://localhost:{self.development_port}"

    def find_instance(self, path: str) -> int:
        """Which of the BFFs, 1 or 2, answered the latest call to this path."""
        latest = []
        for number in (1, 2):
            log = (self.logs / f"bff-{number}.log").read_text(encoding="utf-8")
            lines = [json.loads(line) for line in log.splitlines() if f'"path":"{path}"' in line]
            latest += [(line["time"], number) for line in lines if line["log"] == "access"]
        return max(latest)[1]

    def kill_one_bff(self) -> None:
        """Ends a BFF, workers and all, as a machine that fails would."""
        masters = [
            pid
            for pid in descendants_of(self.demo.pid)
            if b"wsgi:app" in Path(f"/proc/{pid}/cmdline").read_bytes() and os.getsid(pid) == pid
        ]
        assert len(masters) == 2
        os.killpg(masters[-1], signal.SIGKILL)


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    if not (FRONTEND / "index.html").is_file():
        pytest.fail("The demo's application is not built: run `make setup`.", pytrace=False)
    directory = tmp_path_factory.mktemp("demo-traefik")
    ports = {"DEMO_PORT": free_port(), "DEMO_IDP_PORT": free_port()}
    development_port = free_port()
    demo = start_server(
        "demo-traefik",
        [sys.executable, "-m", "demo.behind_traefik"],
        log_path=directory / "demo.log",
        ready=lambda started: "The demo runs behind Traefik." in started.read_log(),
        environment=build_demo_environment(
            ports,
            directory,
            WEB_CONCURRENCY="1",
            OP_TEST_HOOKS="1",
            BFF_CORS__ALLOW_ORIGINS=json.dumps([f"http://localhost:{development_port}"]),
            BFF_LIMITS__LOGIN_STARTS="1000/minute",
        ),
        directory=PROJECT,
        timeout_seconds=60,
    )
    op = RealOp(demo, ports["DEMO_IDP_PORT"])
    yield Topology(demo, ports["DEMO_PORT"], op, development_port, directory / "logs")
    op.stop()  # and the demo with it
