"""The header lines of a call and of its answer as the BFF sends them on, and the names that are not others' to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.headers import (
    HeaderView,
    build_answer_headers,
    build_client_lines,
    build_edge_lines,
    encode_call_lines,
    encode_caller_lines,
    normalise_header_name,
)
from tests.unit.core.builders import ALICE, build_route

SESSION_COOKIE = "__Host-Http-bff_session"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Lines = list[tuple[str, str]]

OURS: Mapping[str, str] = {
    "X-Correlation-ID": "req-1",
    "traceparent": TRACE,
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example.com",
    "X-Forwarded-Prefix": "/api/crud",
    "Authorization": "Bearer service-token",
    "X-User-ID": "alice",
    "X-Original-User": "auth:account:idp.example:alice",
    "X-Session-ID": "ref-1",
}


def build_upstream(lines: Lines, **fields: Any) -> Lines:
    arguments: dict[str, Any] = {
        "route": build_route("/api/crud/*"),
        "identity": ALICE,
        "bearer": "service-token",
        "correlation_id": "req-1",
        "traceparent": TRACE,
        "forwarded_for": "203.0.113.9",
        "proto": "https",
        "host": "app.example.com",
        "prefix": "/api/crud",
        "session_cookie": SESSION_COOKIE,
    }
    given = {**arguments, **fields}
    client = build_client_lines(
        lines,
        request_cookies=given["route"].request_cookies,
        keeps_trace=HeaderView(lines).get("traceparent") == TRACE,
        session_cookie=given["session_cookie"],
        extra_strip=given.get("extra_strip", frozenset()),
    )
    edge = {name: given[name] for name in ("forwarded_for", "proto", "host")}
    call = {name: given[name] for name in ("correlation_id", "traceparent", "bearer")}
    encoded = encode_caller_lines(prefix=given["prefix"], identity=given["identity"]) + encode_call_lines(**call)
    own = [line.partition(": ") for line in encoded.decode("latin-1").removesuffix("\r\n").split("\r\n")]
    return [*client, *build_edge_lines(**edge), *((name, value) for name, _, value in own)]


def build_answer(lines: Lines, **fields: Any) -> Lines:
    arguments: dict[str, Any] = {
        "route": build_route("/api/crud/*"),
        "correlation_id": "req-1",
        "map_location": lambda location: f"mapped:{location}",
        "session_cookie": SESSION_COOKIE,
    }
    return build_answer_headers(lines, **{**arguments, **fields})


def get_all(lines: Lines, name: str) -> list[str]:
    return [value for key, value in lines if normalise_header_name(key) == normalise_header_name(name)]


# Everything a client must not be able to say, in any spelling, on any route.
SPOOFED = [
    *("Authorization", "DPoP", "X-Correlation-ID", "X-User-ID", "X-Original-User", "X-Session-ID", "Forwarded"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-User"),
    *("X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Port", "X-Forwarded-Anything", "X-Forwarded-Access-Token"),
    *("X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override"),
    *("Remote-User", "X-Remote-User", "X-Auth-Request-User", "X-Auth-Request-Email", "X-CSRF-Token"),
]
HOP_BY_HOP = [
    *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Expect"),
    *("Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "Proxy-Anything"),
]


def spell(name: str) -> list[str]:
    return [name, name.lower(), name.upper(), name.replace("-", "_"), name.replace("-", "."), name.replace("-", "_", 1)]
