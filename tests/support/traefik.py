"""A real Traefik with the configuration of deploy/traefik, on free ports.

Fixture `edge` is the whole chain for the run: Traefik, the BFF of the behaviour suite behind it, a decision point, and
three recorders: the BFF's backend, the SPA's file server, and the application that the BFF protects by ForwardAuth. A
test that wants other ports, a certificate or the shipped rate limit starts one of its own with `start_traefik`.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo.edge import Certificate, Edge, build_edge_command, find_traefik, write_edge_configuration
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.gateway import Gateway, echo, put_session, start_gateway
from tests.support.processes import Child, free_port, is_answering, start_server
from tests.support.raw_backend import RawBackend, RecordedRequest

TOOLS_HOST = "tools.localhost"
BFF_PATHS = ("/public/", "/odd/", "/download/", "/shared/", "/mine/")
"""The behaviour suite's routes outside /api."""
READ_TOOL = {"resource": "tool", "action": "read", "id_from": "{path}"}
_UNRESERVED = re.compile(r"%(2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_TO_ENCODE = re.compile(r'[\x80-\xff<>|{}^`"\x7f]')


@dataclass(slots=True, kw_only=True)
class EdgeGateway(Gateway):
    """The gateway as browsers reach it, and who else stands behind the edge."""

    traefik: Child
    spa: RawBackend
    tools: RawBackend
    pdp: AuthzenPdp

    @property
    def tools_host(self) -> str:
        return f"{TOOLS_HOST}:{self.port}"

    def forget(self) -> None:
        for recorder in (self.backend, self.spa, self.tools):
            recorder.requests.clear()
        self.pdp.questions.clear()
        self.pdp.decide = lambda _: True

    def take_requests_of(self, recorder: RawBackend) -> list[RecordedRequest]:
        taken = list(recorder.requests)
        recorder.requests.clear()
        return taken


def start_traefik(directory: Path, edge: Edge) -> Child:
    """Starts Traefik as `edge` says, its files and its log below `directory`. The caller stops it."""
    program = find_traefik()
    if program is None:
        pytest.fail("The real edge needs Traefik: run `make setup`.", pytrace=False)
    static_file = write_edge_configuration(directory, edge)
    return start_server(
        "traefik",
        build_edge_command(program, static_file),
        log_path=directory / "traefik.log",
        ready=lambda _: is_ready(edge),
    )


def make_certificate(directory: Path) -> Certificate:
    """A certificate for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = Certificate(directory / "app.crt", directory / "app.key")
    signed = builder.sign(key, hashes.SHA256())
    certificate.cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    certificate.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate


def is_ready(edge: Edge) -> bool:
    """Whether Traefik has read its routers: it answers before, everything with 404.

    Over TLS only that it answers; who starts it with a certificate waits for the rest.
    """
    if not is_answering(f"http://127.0.0.1:{edge.internal_port}/ping", status=200):
        return False
    return edge.certificate is not None or is_answering(f"http://{edge.app_host}:{edge.port}/", status=200)


def write_as_traefik(target: str) -> str:
    """`target` in the spelling in which Traefik sends it on."""
    path, mark, query = target.partition("?")
    path = _UNRESERVED.sub(lambda found: chr(int(found.group(1), 16)), path)
    path = _ESCAPE.sub(
        lambda found: found.group(0).upper() if found.group(0).lower() != "%25" else found.group(0), path
    )
    path = _TO_ENCODE.sub(lambda found: f"%{ord(found.group(0)):02X}", path)
    return path + mark + query.replace(";", "&")


@pytest.fixture(scope="session")
def edge_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeGateway]:
    """The chain for the run; tests take `edge`."""
    directory = tmp_path_factory.mktemp("edge")
    port = free_port()
    with ExitStack() as parts:
        backend, spa, tools = (parts.enter_context(RawBackend(echo)) for _ in range(3))
        pdp = parts.enter_context(AuthzenPdp())
        (directory / "config").mkdir()
        (directory / "config" / "pdp.yaml").write_text(json.dumps({"connection": {"base_url": pdp.url}}), "utf-8")
        bff = start_gateway(
            directory,
            backend,
            settings={
                "server": {
                    "public_url": f"http://localhost:{port}",
                    "allowed_hosts": [f"http://{TOOLS_HOST}:{port}"],
                    "trusted_proxies": ["127.0.0.1/32"],
                }
            },
            forward_auth=[
                {"host": TOOLS_HOST, "path": "/*", "login_redirect": True, "authz": "none"},
                {"host": TOOLS_HOST, "path": "/decided/*", "authz": "pdp", "authz_map": {"GET": READ_TOOL}},
            ],
        )
        parts.callback(bff.stop)
        addresses = Edge(
            port=port,
            internal_port=free_port(),
            bff_url=f"http://127.0.0.1:{bff.port}",
            spa_url=spa.url,
            tools_url=tools.url,
            tools_host=TOOLS_HOST,
            more_bff_paths=BFF_PATHS,
            calls_per_second=100_000,
        )
        traefik = start_traefik(directory / "traefik", addresses)
        parts.callback(traefik.stop)
        sessions, session_id = put_session(bff)
        yield EdgeGateway(bff, backend, session_id, sessions, port, traefik=traefik, spa=spa, tools=tools, pdp=pdp)


@pytest.fixture
def edge(edge_process: EdgeGateway) -> EdgeGateway:
    """The run's chain, nobody behind the edge having recorded anything yet."""
    edge_process.forget()
    return edge_process
