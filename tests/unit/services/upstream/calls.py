"""What the tests of the upstream side share: services that point at a test's backend, and bodies to send."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from app.core.routes import Service, ServiceToken
from app.services.upstream_client import UpstreamClient, UpstreamRequest, UpstreamResponse
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, Script

GET = UpstreamRequest("GET", "/", [])


def build_service(*base_urls: str, **changes: Any) -> Service:
    service = Service(
        name="crud_service",
        base_urls=base_urls,
        token=ServiceToken(),
        connect_timeout_seconds=5.0,
        read_timeout_seconds=20.0,
        total_timeout_seconds=0.0,
        retry=1,
        max_connections=8,
        breaker_failures=0,
        breaker_reset_seconds=30.0,
    )
    return dataclasses.replace(service, **changes)


class Caller:
    """A client and the one service it knows."""

    def __init__(self, service: Service, monotonic: Callable[[], float] | None = None) -> None:
        self.service = service
        services = {service.name: service}
        self.client = UpstreamClient(services, monotonic) if monotonic else UpstreamClient(services)

    def open(self, request: UpstreamRequest = GET) -> UpstreamResponse:
        return self.client.open(self.service, request)

    def fetch(self, request: UpstreamRequest = GET) -> tuple[int, bytes]:
        """Makes one whole call; returns status and body."""
        response = self.open(request)
        try:
            return response.status, b"".join(response.iter_body())
        finally:
            response.close()


@contextmanager
def calling(backend: RawBackend, **changes: Any) -> Iterator[Caller]:
    caller = Caller(build_service(backend.url, **changes))
    try:
        yield caller
    finally:
        caller.client.close()


class PiecesBody:
    """A request body that comes in the given pieces."""

    def __init__(self, pieces: Iterable[bytes], length: int | None = None) -> None:
        self.length = length
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, max_bytes: int) -> bytes:
        if not self._left:
            self._left = next(self._pieces, b"")
        piece, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return piece


def post(*pieces: bytes, is_chunked: bool = False, method: str = "POST") -> UpstreamRequest:
    body = PiecesBody(pieces, None if is_chunked else sum(map(len, pieces)))
    return UpstreamRequest(method, "/", [], body)


def answering_first(answer: bytes) -> Script:
    """Answers the first request of each connection with `answer` and all further ones well."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(answer)
        while True:
            conversation.read_request()
            conversation.send(OK_ANSWER)

    return script
