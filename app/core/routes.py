"""Services, routes, and the table that finds the one route a path belongs to.

The most specific path wins: exact, then named segments, then the longest prefix. Two routes that tie are an error.
Matching is on raw bytes; nothing is decoded to find a route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from app.core.own_endpoints import is_own_path
from app.core.path_table import PathTable, RoutePath, find_ties, parse_route_path

TokenMode = Literal["none", "client_credentials", "user", "resource", "exchange"]
PathOption = Literal["encoded_slash", "semicolon", "encoded_unreserved"]


@dataclass(frozen=True)
class ServiceToken:
    """Which token a service gets (DESIGN: `token.mode`)."""

    mode: TokenMode = "none"
    audience: str = ""
    scope: str = ""
    is_bound: bool = False
    """Bound to a key of ours (RFC 9449). With mode `user` it is the login that decides, for all services alike."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class PermissionMapping:
    """One entry of `authz_map`: what a method on a route means to the decision point."""

    resource: str
    action: str
    id_from: str
    props: Mapping[str, str]


@dataclass(frozen=True)
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


class RouteMatch:
    """A route and what its wildcard and named segments caught, raw (still percent-encoded)."""

    def __init__(self, route: Route, params: Mapping[str, str]) -> None:
        self.route = route
        self.params = params


@dataclass(frozen=True)
class RouteConflict:
    """Why a route cannot stand in the table: it ties with `other`, or, with None there, hides behind own endpoints."""

    route: Route
    other: Route | None

    def __str__(self) -> str:
        if self.other is None:
            return f"route {self.route.id!r} ({self.route.path}) can match nothing but the BFF's own endpoints"
        return (
            f"routes {self.other.id!r} ({self.other.path}) and {self.route.id!r} ({self.route.path}) "
            "match the same paths and neither is more specific"
        )


class RouteConflictError(ValueError):
    """The routes cannot form a table; `conflicts` lists every reason."""

    def __init__(self, conflicts: tuple[RouteConflict, ...]) -> None:
        super().__init__("; ".join(map(str, conflicts)))
        self.conflicts = conflicts


class RouteTable:
    """Finds the one route a path belongs to, in time that depends on the path's depth and not on the number of routes.

    Never gives a route for a path of our own endpoints (`app.core.own_endpoints`), so no door can forget to ask.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises `RouteConflictError` for ties and for routes behind own endpoints, ValueError for a malformed path."""
        self.routes: tuple[Route, ...] = tuple(routes)
        paths = [parse_route_path(route.path) for route in self.routes]
        ties = [RouteConflict(self.routes[second], self.routes[first]) for first, second in find_ties(paths)]
        conflicts = (*_find_unreachable(zip(self.routes, paths, strict=True)), *ties)
        if conflicts:
            raise RouteConflictError(conflicts)
        self._table = PathTable([(route.path, route) for route in self.routes])

    def match(self, path: str) -> RouteMatch | None:
        """Returns the most specific route for a raw path, with what its segments and `*` caught, or None."""
        found = self._table.find_exact(path)
        if found is None:
            if is_own_path(path):
                return None
            found = self._table.find(path)
        return RouteMatch(*found) if found else None


def _find_unreachable(paths: Iterable[tuple[Route, RoutePath]]) -> Iterator[RouteConflict]:
    for route, path in paths:
        # Only an own `{id}` takes any segment, so what is own with a made-up word in place of the names always is.
        example = "/" + "/".join("x" if segment is None else segment for segment in path.segments)
        if path.segments[:1] == ("admin",) or (is_own_path(example) and not path.has_tail):
            yield RouteConflict(route, None)
