"""What was let in by an access token ends when the token is good no more, over both doors.

The issuer is played: no provider hands out a token that is over in two seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from app.core.websocket import build_accept
from tests.support.bff import Bff, build_route, start_bff
from tests.support.doors import DOORS
from tests.support.log_lines import wait_for_lines
from tests.support.raw_backend import Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT
from tests.support.wire import Wire

pytestmark = pytest.mark.live

ISSUER, AUDIENCE = "https://jobs.example.com", "urn:test:jobs"
KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})
LEEWAY_SECONDS = 30
BEGUN = b"data: begun\n\n"
WEBSOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")


def answer(conversation: Conversation) -> None:
    request = conversation.read_request()
    if b"/jwks " in request.request_line:
        keys = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        conversation.send(b"Content-Length: %d\r\n\r\n%b" % (len(keys), keys))
    elif b"/socket " in request.request_line:
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        conversation.send(f"Sec-WebSocket-Accept: {build_accept(WEBSOCKET_KEY)}\r\n\r\n".encode())
        conversation.wait_for_end()
    else:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        conversation.send(b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN))
        conversation.wait_for_end()


@dataclass(frozen=True, slots=True)
class World:
    backend: RawBackend
    bff: Bff


@pytest.fixture(scope="module", params=DOORS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with RawBackend(answer) as backend:
        route = {"auth": "bearer", "authz": "none"}
        bff = start_bff(
            tmp_path_factory.mktemp("streams"),
            issuer=f"http://127.0.0.1:{find_closed_port()}",
            client=BASIC_CLIENT,
            backend_url=backend.url,
            workers=1,
            door=request.param,
            routes={
                "services": {"feed": {"base_url": backend.url, "token": {"mode": "none"}}},
                "routes": [
                    build_route("/feed/*", "feed", "/{path}", streaming=True, **route),
                    build_route("/tunnel/*", "feed", "/{path}", websocket=True, methods=["GET"], **route),
                ],
            },
            idps=[{"name": "jobs", "issuer": ISSUER, "audience": AUDIENCE, "jwks_url": f"{backend.url}/jwks"}],
        )
        yield World(backend, bff)
        bff.stop()


def sign(good_for_seconds: float) -> str:
    """A token that is taken for so long, counting the leeway."""
    now = time.time()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "job", "iat": now - 60}
    claims["exp"] = now - LEEWAY_SECONDS + good_for_seconds
    return jws.serialize_compact({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, json.dumps(claims), KEY)


def test_a_stream_ends_with_the_token_that_opened_it(world: World) -> None:
    with closing(Wire(world.bff)) as brief, closing(Wire(world.bff)) as lasting:
        lasting.ask("GET /feed/lasting HTTP/1.1", f"Authorization: Bearer {sign(600)}")
        brief.ask("GET /feed/brief HTTP/1.1", f"Authorization: Bearer {sign(2)}")
        for wire in (lasting, brief):
            wire.wait_for(BEGUN)
        received = brief.read_to_end()
        assert received.endswith(BEGUN + b"\r\n"), "cut off, and not made to look whole"
        [line] = wait_for_lines([world.bff.child.log_path], log="access", path="/feed/brief")
        assert (line["status"], line["code"], line["aborted"]) == (200, "token_invalid", True)
        assert line["duration_ms"] < 10_000
        lasting.set_timeout(1.5)
        with pytest.raises(TimeoutError):
            lasting.read_to_end()


def test_a_tunnel_is_closed_when_its_token_is_good_no_more(world: World) -> None:
    with closing(Wire(world.bff)) as wire:
        token = f"Authorization: Bearer {sign(2)}"
        wire.ask("GET /tunnel/socket HTTP/1.1", *HANDSHAKE, f"Sec-WebSocket-Key: {WEBSOCKET_KEY}", token)
        assert wire.read_to_end().endswith(b"\r\n\r\n\x88\x0f\x03\xf0token_invalid")
    [line] = wait_for_lines([world.bff.child.log_path], log="access", path="/tunnel/socket")
    assert (line["status"], line["code"]) == (101, "token_invalid")
