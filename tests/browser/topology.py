"""The whole topology for the browser: Traefik, two BFFs, Redis, the provider, the decision point, the backend, the SPA.

The provider is at 127.0.0.1 and the application at localhost: two sites, as browsers see it. Started once for the run.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from demo.edge import Edge
from demo.run import EDITORS, FRONTEND
from tests.support.bff import Bff, build_routes, start_bff, start_crud_service
from tests.support.processes import free_port
from tests.support.real_op import RealOp, start_op
from tests.support.real_pdp import RealPdp
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.traefik import start_traefik

DEVELOPMENT_PORT = free_port()


@dataclass(frozen=True, slots=True)
class Topology:
    port: int
    op: RealOp
    redis: RedisServer
    bffs: tuple[Bff, Bff]

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def development_origin(self) -> str:
        """Where `npm run dev` would serve: another origin of the same site, in `cors.allow_origins`."""
        return f"http://localhost:{DEVELOPMENT_PORT}"


@pytest.fixture(scope="session")
def topology(tmp_path_factory: pytest.TempPathFactory, cerbos: RealPdp) -> Iterator[Topology]:
    if not (FRONTEND / "index.html").is_file():
        pytest.fail("The demo's application is not built: run `make setup`.", pytrace=False)
    directory = tmp_path_factory.mktemp("topology")
    port = free_port()
    with ExitStack() as parts:
        redis = parts.enter_context(running_redis(directory))
        op = start_op(directory, OP_EDITORS=" ".join(EDITORS))
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        client = op.register_client(f"http://localhost:{port}")
        key_file = directory / "data.key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
        settings = {
            "server": {"public_url": f"http://localhost:{port}", "trusted_proxies": ["127.0.0.1/32"]},
            "session": {"store": "redis", "redis_url": redis.url},
            "keys": {"store": "redis"},
            "tokens": {"data_key_file": str(key_file)},
            "cors": {"allow_origins": [f"http://localhost:{DEVELOPMENT_PORT}"]},
            "frontends": [{"host": "localhost", "directory": str(FRONTEND)}],
        }
        bffs = []
        for number in (1, 2):
            own = directory / f"bff-{number}"
            write_pdp(own / "config", cerbos.url)
            bffs.append(
                start_bff(
                    own,
                    issuer=op.issuer,
                    client=client,
                    backend_url=backend_url,
                    workers=1,
                    settings=settings,
                    routes=build_routes(backend_url, with_decisions=True),
                )
            )
            parts.callback(bffs[-1].stop)
        urls = [f"http://127.0.0.1:{bff.port}" for bff in bffs]
        edge = Edge(
            port=port,
            internal_port=free_port(),
            bff_url=urls[0],
            more_bff_urls=urls[1:],
            spa_url=urls[0],
            more_spa_urls=urls[1:],
            tools_url=backend_url,
            calls_per_second=100_000,
        )
        traefik = start_traefik(directory / "traefik", edge)
        parts.callback(traefik.stop)
        yield Topology(port, op, redis, (bffs[0], bffs[1]))


def write_pdp(directory: Path, url: str) -> None:
    directory.mkdir(parents=True)
    content = {"connection": {"base_url": url}, "subject_claims": ["roles"]}
    (directory / "pdp.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
