"""The one way to a backend: sends a request, returns its answer with the body still to be streamed.

Signatures first; see the modules beside this one for the parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from app.core.routes import Service
from app.services.upstream_messages import RequestBody, UpstreamBrokenOffError, UpstreamRequest

__all__ = ["RequestBody", "UpstreamBrokenOffError", "UpstreamClient", "UpstreamRequest", "UpstreamResponse"]


class UpstreamResponse:
    """An answer whose head has come. Whoever gets it calls `close`, whatever happened."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    content_length: int | None

    def iter_body(self) -> Iterator[bytes]:
        """Yields bytes as they arrive; raises `UpstreamBrokenOffError` when the body ends before its end."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the exchange; idempotent, and may be called from another greenlet or thread to break off a read."""
        raise NotImplementedError


class UpstreamClient:
    """Built once per worker."""

    def __init__(self, services: Mapping[str, Service], monotonic: Callable[[], float] = time.monotonic) -> None:
        raise NotImplementedError

    def open(self, service: Service, request: UpstreamRequest) -> UpstreamResponse:
        """Sends `request` and returns once the head of the answer has come."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes idle connections; those in use are closed when their call ends."""
        raise NotImplementedError
