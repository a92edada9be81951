"""The files of single-page applications, for when no edge serves them: what nothing else claims, on a frontend's host.

Endpoints of ours and routes win. Only reads are answered here, and only where there is a file, or where a browser
navigates to an address of the application (its router draws the page, so it gets the index). Whatever else comes goes
on to the proxy, whose refusals are the same as on a host without a frontend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from io import BufferedReader
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.http import is_resource_modified, parse_if_range_header, parse_range_header, quote_etag

from app.core.cross_site import build_fetch_metadata, is_navigation
from app.core.errors import BffError
from app.core.headers import HeaderView
from app.core.request_target import RequestTarget, parse_request_target
from app.core.static_files import (
    CONTENT_SECURITY_POLICY,
    choose_cache_control,
    choose_content_type,
    find_file_segments,
    is_reserved,
)
from app.gateway.messages import HeaderLines, ProxyResponse
from app.gateway.wsgi_door import WsgiAnswer
from app.hooks.request_checks import PROXY_BLUEPRINT, get_raw_target
from app.services.frontend_files import Frontend, OpenFile
from app.services.upstream_client import UpstreamBrokenOffError

if TYPE_CHECKING:
    from app.wiring import Services

ROUTE_ID = "frontend"
"""What access records and metrics call these answers."""
_SLICE_BYTES = 128 * 1024
_ONE_RANGE = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")
"""Several ranges and other units may be ignored (RFC 9110 §14.2)."""


def register(app: Flask, services: Services) -> None:
    """Answers reads of applications' files and pages; without a frontend nothing is added to a call."""
    if not services.frontends:
        return
    stall_seconds = services.configuration.settings.server.body_timeout_seconds

    def serve() -> Response | None:
        if request.blueprint != PROXY_BLUEPRINT or request.method not in ("GET", "HEAD"):
            return None
        # What is wrong with a call is for the proxy to say.
        with suppress(BffError):
            frontend = _find_frontend(services)
            target = parse_request_target(get_raw_target(request.environ))
            if frontend is not None and _is_unclaimed(target, services):
                found = _find_file(frontend, target)
                if found is not None:
                    return _answer(found, frontend, stall_seconds)
        return None

    app.before_request(serve)


def _find_frontend(services: Services) -> Frontend | None:
    origin = services.policy.select_origin(
        request.headers.get("Host", ""),
        request.headers.getlist("X-Forwarded-Host"),
        request.environ.get("REMOTE_ADDR", ""),
    )
    return services.frontends.get(origin.host)


def _is_unclaimed(target: RequestTarget, services: Services) -> bool:
    if target.oddities or is_reserved(target.path):
        return False
    return services.configuration.route_table.match(target.path) is None


def _find_file(frontend: Frontend, target: RequestTarget) -> OpenFile | None:
    encodings = [] if "Range" in request.headers else _list_encodings()
    segments = find_file_segments(target.path)
    found = frontend.files.find(segments, encodings) if segments else None
    if found is None and is_navigation(request.method, build_fetch_metadata(HeaderView(request.headers.items()))):
        return frontend.files.find_index(encodings)
    return found


def _list_encodings() -> list[str]:
    accepted = request.accept_encodings
    return [encoding for encoding in ("br", "gzip") if accepted.quality(encoding) > 0]


def _answer(found: OpenFile, frontend: Frontend, stall_seconds: float) -> Response:
    current_app.extensions["bff_get_call"]().route_id = ROUTE_ID
    tag = f"{found.entity_tag}-{found.encoding}" if found.encoding else found.entity_tag
    headers = [
        ("Content-Type", choose_content_type(found.name)),
        ("Cache-Control", choose_cache_control(found.name)),
        ("ETag", quote_etag(tag)),
        ("Accept-Ranges", "bytes"),
        ("Content-Security-Policy", frontend.content_security_policy or CONTENT_SECURITY_POLICY),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Frame-Options", "DENY"),
    ]
    if found.encoding:
        headers.append(("Content-Encoding", found.encoding))
    if found.has_variants:
        headers.append(("Vary", "Accept-Encoding"))
    if not is_resource_modified(request.environ, etag=tag):
        return _build(found, HTTPStatus.NOT_MODIFIED, headers, (0, 0), stall_seconds)
    wanted = _choose_range(tag, found.size)
    if wanted is None:
        return _build(found, HTTPStatus.OK, headers, (0, found.size), stall_seconds)
    start, stop = wanted
    if start >= stop:
        headers.append(("Content-Range", f"bytes */{found.size}"))
        return _build(found, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers, (0, 0), stall_seconds)
    headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{found.size}"))
    return _build(found, HTTPStatus.PARTIAL_CONTENT, headers, (start, stop), stall_seconds)


def _choose_range(tag: str, size: int) -> tuple[int, int] | None:
    """The bytes that are asked for, an empty range for ones that are not there; None: all."""
    value = request.headers.get("Range", "")
    if request.method != "GET" or not _ONE_RANGE.fullmatch(value):
        return None
    condition = request.headers.get("If-Range")
    if condition is not None and parse_if_range_header(condition).etag != tag:
        return None
    asked = parse_range_header(value)
    if asked is None:
        return None
    return asked.range_for_length(size) or (0, 0)


def _build(
    found: OpenFile, status: HTTPStatus, headers: HeaderLines, part: tuple[int, int], stall_seconds: float
) -> Response:
    if status is not HTTPStatus.NOT_MODIFIED:
        headers.append(("Content-Length", str(part[1] - part[0])))
    answer = ProxyResponse(status, status.phrase, headers, _read(found.content, *part), found.content.close)
    body = WsgiAnswer(answer, request.environ.get("gunicorn.socket"), request.method, stall_seconds)
    return Response(body, status=int(status), headers=Headers(headers))


def _read(content: BufferedReader, start: int, stop: int) -> Iterator[bytes]:
    """What was promised and no more; a file that became shorter since ends the connection."""
    content.seek(start)
    left = stop - start
    while left:
        piece = content.read(min(left, _SLICE_BYTES))
        if not piece:
            raise UpstreamBrokenOffError("the file became shorter while it was sent")
        left -= len(piece)
        yield piece
