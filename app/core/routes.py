"""Services, routes, and the table that finds the one route a path belongs to.

The most specific path wins: exact, then named segments, then the longest prefix. Two routes that tie are an error.
Matching is on raw bytes; nothing is decoded to find a route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TokenMode = Literal["none", "client_credentials", "user", "resource", "exchange"]
PathOption = Literal["encoded_slash", "semicolon", "encoded_unreserved"]


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """Which token a service gets (DESIGN: `token.mode`)."""

    mode: TokenMode = "none"
    audience: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A backend as `routes.yaml` describes it."""

    name: str
    base_urls: tuple[str, ...]
    token: ServiceToken
    connect_timeout_seconds: float
    read_timeout_seconds: float
    total_timeout_seconds: float
    """0: none."""
    retry: int
    max_connections: int
    breaker_failures: int
    breaker_reset_seconds: float
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class PermissionMapping:
    """One entry of `authz_map`: what a method on a route means to the decision point."""

    resource: str
    action: str
    id_from: str
    props: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of `routes.yaml`, defaults filled in."""

    id: str
    path: str
    service: Service
    upstream_path: str
    """Template; empty when `preserve_path`."""
    preserve_path: bool
    auth: Literal["session", "bearer", "none"]
    methods: frozenset[str]
    """As written, plus HEAD where GET is."""
    authz: Literal["none", "pdp"]
    authz_map: Mapping[str, PermissionMapping]
    streaming: bool
    websocket: bool
    navigation: bool
    max_body_bytes: int
    rate_limit: str
    max_age_seconds: int
    acr_values: tuple[str, ...]
    allow_in_path: frozenset[PathOption]
    request_cookies: frozenset[str]
    response_cookies: frozenset[str]
    allow_anonymous_service_token: bool = False


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """A route and what its wildcard and named segments caught, raw (still percent-encoded)."""

    route: Route
    params: Mapping[str, str]
