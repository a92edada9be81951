"""The production door: a request that gunicorn has parsed goes through the pipeline and its answer onto the wire.

Free of WSGI: header lines are those of the wire, none joined with another, and the body flows in the pieces in which
it arrives. What is not claimed goes on untouched to the Flask application.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from app.gateway.client_watch import ClientWatch
from app.gateway.http1 import AnswerWriter, ClientWriter, build_switch_head
from app.gateway.known_heads import ReadHead
from app.gateway.lingering import drop_unread_body, linger
from app.gateway.messages import Claim, HeaderLines, ProxyRequest, ProxyResponse
from app.gateway.paced_socket import PacedSocket
from app.gateway.pipeline import Pipeline
from app.gateway.shutting import shut
from app.gateway.worker_body import WorkerBody, has_body, is_plainly_framed
from app.observability import logs
from app.services.upstream_client import UpstreamBrokenOffError

_LONGEST_REMEMBERED = 64

log = logs.get_logger(__name__)


class WorkerDoor:
    """One a worker."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        patience_seconds: float,
        is_alive: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience_seconds` bounds the silence of a client that sends a body, or should take its answer. Once
        `is_alive` says no, answers tell the client that the connection ends with them."""
        self._pipeline = pipeline
        self._patience_seconds = patience_seconds
        self._is_alive = is_alive
        self._monotonic = monotonic

    def claim(self, req: Any) -> Claim | None:
        """Returns what the route table says of a call; None for one that is Flask's to answer."""
        if req.proxy_protocol_info or not is_plainly_framed(req):
            return None
        return self._pipeline.claim(req.uri)

    def carry(self, claim: Claim, req: Any, sock: Any, peer_address: str) -> bool:
        """Answers one call; returns whether the connection is good for another.

        Raises `OSError` when the client is gone or does not take its answer in time.
        """
        body = WorkerBody(req, PacedSocket(sock, self._patience_seconds, self._monotonic)) if has_body(req) else None
        request = ProxyRequest(
            method=req.method,
            raw_target=req.uri,
            headers=build_header_lines(req.headers),
            body=body,
            peer_address=peer_address,
            peer_scheme=req.scheme,
            can_tunnel=req.version >= (1, 1),
            claim=claim,
        )
        goes_on = self._answer(
            request,
            body,
            sock,
            req.version[1],
            wants_close=req.should_close(),
            take_early=req.unreader.take_buffered,
        )
        if body is None:
            return goes_on
        if goes_on:
            return drop_unread_body(req, sock)
        if not body.is_read:
            linger(sock)
        return False

    def carry_plain(self, head: ReadHead, sock: Any, peer_address: str) -> bool:
        """As `carry`, for a call from the fast lane."""
        request = ProxyRequest(
            head.method,
            head.raw_target,
            head.facts.lines,
            None,
            peer_address,
            "http",
            head.claim,
            head.facts,
            head.precedent,
        )
        return self._answer(request, None, sock, 1, wants_close=head.wants_close)

    def _answer(
        self,
        request: ProxyRequest,
        body: WorkerBody | None,
        sock: Any,
        minor_version: int,
        *,
        wants_close: bool,
        take_early: Callable[[], bytes] = bytes,
    ) -> bool:
        """`take_early` returns what a client sent behind its request before it knew of a tunnel."""
        response = self._pipeline.handle(request)
        try:
            if response.tunnel is not None:
                ClientWriter(sock, self._patience_seconds, self._monotonic).send(build_switch_head(response))
                response.tunnel(sock, take_early())
                return False
            may_go_on = not wants_close and self._is_alive() and (body is None or body.can_be_dropped)
            writer = AnswerWriter(response, request.method, minor_version, may_go_on=may_go_on)
            is_whole = self._write(writer, response, sock)
        finally:
            response.close()
        return is_whole and writer.goes_on

    def _write(self, writer: AnswerWriter, response: ProxyResponse, sock: Any) -> bool:
        """Returns whether the whole answer was written. Its head is out, so nothing else can be said any more."""
        client = ClientWriter(sock, self._patience_seconds, self._monotonic)
        watch: ClientWatch | None = None
        if not response.is_whole_at_hand:
            response.cut_client = partial(shut, sock)
            if response.break_off is not None:
                watch = ClientWatch(sock, response.break_off)
                watch.start()
        try:
            writer.write(client)
        except UpstreamBrokenOffError:
            writer.break_off(sock)
            return False
        except OSError:
            raise
        except Exception as error:
            log.exception("an answer could not be written", error_type=type(error).__name__)
            writer.break_off(sock)
            return False
        finally:
            if watch is not None:
                watch.stop()
        return True


def build_header_lines(headers: list[tuple[str, str]]) -> HeaderLines:
    """Returns gunicorn's header lines, whose names are in capitals, in the spelling that people are used to."""
    return [(_spell(name) if len(name) <= _LONGEST_REMEMBERED else name, value) for name, value in headers]


@lru_cache(maxsize=512)
def _spell(name: str) -> str:
    return name.title()
