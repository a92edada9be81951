"""Routes and services with every field filled in, so that a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.core.identity import Identity
from app.core.routes import Route, Service, ServiceToken

ALICE = Identity(user_id="alice", subject="alice", provider="idp.example", session_reference="ref-1", claims={})


def build_service(*base_urls: str, name: str = "crud_service") -> Service:
    return Service(
        name=name,
        base_urls=base_urls or ("http://crud:8080",),
        token=ServiceToken(),
        connect_timeout_seconds=2,
        read_timeout_seconds=30,
        total_timeout_seconds=0,
        retry=1,
        max_connections=256,
        breaker_failures=5,
        breaker_reset_seconds=30,
    )


def build_route(path: str, upstream_path: str = "/up", **fields: Any) -> Route:
    """The id is the path unless one is given."""
    route = Route(
        id=path,
        path=path,
        service=build_service(),
        upstream_path=upstream_path,
        preserve_path=False,
        auth="session",
        methods=frozenset({"GET", "HEAD", "POST"}),
        authz="none",
        authz_map={},
        streaming=False,
        websocket=False,
        navigation=False,
        max_body_bytes=1024,
        rate_limit="",
        max_age_seconds=0,
        acr_values=(),
        allow_in_path=frozenset(),
        request_cookies=frozenset(),
        response_cookies=frozenset(),
    )
    return replace(route, **fields)
