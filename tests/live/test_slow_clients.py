"""Row B5: a client that reads nothing, or sends next to nothing, holds what it holds for a bounded time only."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.bff import Bff, build_route, start_bff
from tests.support.doors import DOORS
from tests.support.processes import wait_until
from tests.support.raw_backend import Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT

pytestmark = pytest.mark.live

PATIENCE_SECONDS = 1
CONNECTIONS = 2
BIG = 64 * 1024 * 1024


def answering_big_or_small(conversation: Conversation) -> None:
    while True:
        request = conversation.read_request()
        length = BIG if b"/big" in request.request_line else 2
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        conversation.send(b"x" * length)


@pytest.fixture(scope="module", params=DOORS)
def bff(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    directory: Path = tmp_path_factory.mktemp("slow")
    with RawBackend(answering_big_or_small) as backend:
        service = {"base_url": backend.url, "token": {"mode": "none"}, "max_connections": CONNECTIONS}
        started = start_bff(
            directory,
            issuer=f"http://127.0.0.1:{find_closed_port()}",
            client=BASIC_CLIENT,
            backend_url=backend.url,
            workers=1,
            door=request.param,
            settings={"server": {"body_timeout_seconds": PATIENCE_SECONDS}},
            routes={
                "services": {"few": {**service, "connect_timeout_seconds": 0.5}},
                "routes": [build_route("/pub/*", "few", "/{path}", auth="none")],
            },
        )
        yield started
        started.stop()


def send(bff: Bff, request: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", bff.port))
    connection.sendall(request.replace("\n", "\r\n").encode())
    return connection


def get_status(bff: Bff) -> int:
    with requests.Session() as http:
        http.trust_env = False
        return http.get(
            f"http://127.0.0.1:{bff.port}/pub/small", headers={"Host": f"localhost:{bff.port}"}, timeout=30
        ).status_code


def test_clients_that_never_read_give_the_backends_connections_back(bff: Bff) -> None:
    request = f"GET /pub/big HTTP/1.1\nHost: localhost:{bff.port}\n\n"
    holding = [send(bff, request) for _ in range(CONNECTIONS)]
    wait_until(lambda: get_status(bff) == 200, timeout_seconds=30, what="a free connection to the backend")
    for connection in holding:
        connection.close()


def test_a_client_that_reads_slowly_but_reads_gets_everything(bff: Bff) -> None:
    connection = send(bff, f"GET /pub/big HTTP/1.1\nHost: localhost:{bff.port}\nConnection: close\n\n")
    received = 0
    with connection:
        while piece := connection.recv(32768):
            received += len(piece)
    assert received > BIG


@pytest.mark.parametrize("path", ["/pub/small", "/auth/logout"])
def test_an_upload_that_only_drips_is_refused_in_bounded_time(bff: Bff, path: str) -> None:
    head = f"POST {path} HTTP/1.1\nHost: localhost:{bff.port}\nContent-Length: 15000\n"
    with send(bff, head + "Content-Type: application/x-www-form-urlencoded\n\n") as connection:
        for _ in range(200):
            readable, _, _ = select.select([connection], [], [], PATIENCE_SECONDS / 10)
            if readable:
                break
            connection.sendall(b"a")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"X-BFF-Error: bad_request" in answer


def test_an_upload_that_is_slow_but_steady_goes_through(bff: Bff) -> None:
    head = f"POST /pub/small HTTP/1.1\nHost: localhost:{bff.port}\nConnection: close\nContent-Length: 20480\n\n"
    with send(bff, head) as connection:
        for _ in range(20):
            select.select([connection], [], [], PATIENCE_SECONDS / 5)
            connection.sendall(b"a" * 1024)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")
