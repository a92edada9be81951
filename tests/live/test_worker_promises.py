"""What gunicorn promises holds at the worker door, which takes calls past gunicorn's own handling."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.support.bff import Bff, build_route, start_bff
from tests.support.doors import DOORS, Door
from tests.support.gateway import parse_answer
from tests.support.log_lines import read_lines
from tests.support.processes import wait_until
from tests.support.product import PRODUCT
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT
from tests.support.wire import Wire

pytestmark = pytest.mark.live

WORKER_CONNECTIONS = 3
MAX_REQUESTS, JITTER = 5, 3
DEPLOYERS_SETTINGS = f"""
import runpy
globals().update(runpy.run_path({str(PRODUCT / "gunicorn.conf.py")!r}))
worker_connections = {WORKER_CONNECTIONS}

def pre_request(worker, request):
    log.info("before", target=request.uri)

def post_request(worker, request, environ, response):
    log.info("after", target=request.uri)
"""


def answering(conversation: Conversation) -> None:
    while True:
        request = conversation.read_request()
        if b"/hang" in request.request_line:
            conversation.wait_for_end()
        elif b"/stream" in request.request_line:
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
            conversation.wait_for_end()
        else:
            conversation.send(OK_ANSWER)


@pytest.fixture(scope="module")
def backend() -> Iterator[RawBackend]:
    with RawBackend(answering) as running:
        yield running


def start(directory: Path, backend: RawBackend, *options: str, door: Door = "worker") -> Bff:
    return start_bff(
        directory,
        issuer=f"http://127.0.0.1:{find_closed_port()}",
        client=BASIC_CLIENT,
        backend_url=backend.url,
        workers=1,
        door=door,
        settings={"server": {"graceful_timeout_seconds": 2}},
        routes={
            "services": {"plain": {"base_url": backend.url, "token": {"mode": "none"}}},
            "routes": [build_route("/pub/*", "plain", "/{path}", auth="none")],
        },
        options=options,
    )


@pytest.fixture(scope="module")
def bff(tmp_path_factory: pytest.TempPathFactory, backend: RawBackend) -> Iterator[Bff]:
    """One worker under settings of the deployer's own."""
    directory = tmp_path_factory.mktemp("promises")
    (directory / "gunicorn_settings.py").write_text(DEPLOYERS_SETTINGS, encoding="utf-8")
    running = start(directory, backend, "-c", str(directory / "gunicorn_settings.py"))
    yield running
    running.stop()


@pytest.mark.parametrize("target", ["/pub/x?hooked", "/health/live?hooked"])
def test_request_hooks_are_called_for_every_call(bff: Bff, target: str) -> None:
    assert requests.get(f"{bff.origin}{target}", timeout=10).status_code == 200
    for moment in ("before", "after"):
        wait_until(
            lambda moment=moment: any(  # type: ignore[misc]
                f'"event":"{moment}"' in line and target in line for line in bff.child.read_log().splitlines()
            ),
            timeout_seconds=10,
            what=f"the hook {moment} the call",
        )


def test_more_connections_than_are_allowed_wait_for_their_turn(bff: Bff) -> None:
    held = [Wire(bff) for _ in range(WORKER_CONNECTIONS)]
    for wire in held:
        wire.ask("GET /pub/x HTTP/1.1")
        assert wire.read_answer().status == 200
    with closing(Wire(bff, timeout_seconds=1)) as late:
        late.ask("GET /pub/x HTTP/1.1", "Connection: close")
        with pytest.raises(TimeoutError):
            late.read_answer()
        held.pop().close()
        late.set_timeout(20)
        assert late.read_answer().status == 200
    for wire in held:
        wire.close()


def test_a_worker_that_has_answered_enough_calls_is_replaced_and_no_call_is_lost(
    tmp_path: Path, backend: RawBackend
) -> None:
    options = ("--max-requests", str(MAX_REQUESTS), "--max-requests-jitter", str(JITTER))
    running = start(tmp_path, backend, *options)
    first = running.worker_pids()
    said_goodbye = False
    for _ in range(MAX_REQUESTS + JITTER):
        with closing(Wire(running)) as wire:
            wire.ask("GET /pub/x HTTP/1.1")
            answer = wire.read_answer()
            assert (answer.status, answer.body) == (200, b"ok")
            said_goodbye = said_goodbye or answer.get("Connection") == "close"
    assert said_goodbye, "the last call of a worker ends its connection"
    wait_until(
        lambda: not set(first) & set(running.worker_pids()), timeout_seconds=30, what="the end of the first worker"
    )
    running.stop()


@pytest.mark.parametrize("door", DOORS)
def test_at_a_stop_calls_have_until_the_graceful_timeout_and_then_end_without_another_word(
    tmp_path: Path, backend: RawBackend, door: Door
) -> None:
    backend.requests.clear()
    running = start(tmp_path, backend, door=door)
    [worker_pid] = running.worker_pids()
    with closing(Wire(running)) as hanging, closing(Wire(running)) as streaming, closing(Wire(running)) as idle:
        idle.ask("GET /pub/x HTTP/1.1")
        assert idle.read_answer().status == 200
        streaming.ask("GET /pub/stream HTTP/1.1")
        streaming.wait_for(b"begun")
        hanging.ask("GET /pub/hang HTTP/1.1")
        wait_until(
            lambda: any(b"/hang" in request.request_line for request in backend.requests),
            timeout_seconds=10,
            what="the call at the backend",
        )
        began = time.monotonic()
        os.kill(running.child.pid, signal.SIGTERM)
        assert idle.read_to_end() == b""
        assert b"0\r\n\r\n" not in streaming.read_to_end().partition(b"begun")[2], "cut off, and not made to look whole"
        assert time.monotonic() - began >= 2 * 0.9
        assert hanging.read_to_end() == b""
    wait_until(lambda: not running.child.is_running(), timeout_seconds=20, what="the end of the BFF")
    running.stop()
    assert read_lines([running.child.log_path], event=f"Worker exiting (pid: {worker_pid})"), "it ended by itself"
    for path, status in (("/pub/stream", 200), ("/pub/hang", 503)):
        [line] = read_lines([running.child.log_path], log="access", path=path)
        assert (line["status"], line["aborted"]) == (status, True)


def test_nobody_is_believed_what_scheme_or_path_a_call_came_with(bff: Bff, backend: RawBackend) -> None:
    """`forwarded_allow_ips` is empty: what an edge says is `server.trusted_proxies`' to believe."""
    backend.requests.clear()
    lines = ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "Script-Name: /pub", "SCRIPT_NAME: /pub"]
    with closing(Wire(bff)) as wire:
        wire.ask("GET /pub/x HTTP/1.1", *lines, "Connection: close")
        assert parse_answer(wire.read_to_end()).status == 200
    [request] = backend.requests
    assert request.request_line == b"GET /x HTTP/1.1"
    assert request.get_all("X-Forwarded-Proto") == [b"http"]
