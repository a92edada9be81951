"""Services, routes, and the table that finds the one route a path belongs to.

The most specific path wins: exact, then named segments, then the longest prefix. Two routes that tie are an error.
Matching is on raw bytes; nothing is decoded to find a route.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Literal

from app.core.own_endpoints import is_own_path

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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RoutePath:
    """A route's `path`, taken apart. A segment that is None is a named one."""

    segments: tuple[str | None, ...]
    names: tuple[str, ...]
    has_tail: bool
    """Ends in `*`; the `*` is not among the segments."""

    def is_exact(self) -> bool:
        return not self.names and not self.has_tail


_LITERAL_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@-]+")
_NAMED_SEGMENT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parse_route_path(path: str) -> RoutePath:
    """Takes a route's `path` apart; raises ValueError with a sentence when it is not one.

    Literal segments are plain ASCII without escapes, so that a route has one spelling only.
    """
    if not path.startswith("/"):
        raise ValueError("a path starts with /")
    parts = path[1:].split("/")
    has_tail = parts[-1] == "*"
    segments = [_parse_segment(part, is_last=index == len(parts) - 1) for index, part in enumerate(parts)]
    if has_tail:
        segments.pop()
    names = tuple(part[1:-1] for part, segment in zip(parts, segments, strict=False) if segment is None)
    if len(set(names)) != len(names):
        raise ValueError("each {name} may stand in a path only once")
    if "path" in names:
        raise ValueError("{path} is what * caught, so no segment can have that name")
    return RoutePath(tuple(segments), names, has_tail)


def _parse_segment(part: str, *, is_last: bool) -> str | None:
    if part == "*":
        if is_last:
            return part
        raise ValueError("* may stand only at the end of a path, after a /")
    if part == "":
        if is_last:
            return part
        raise ValueError("a path has no empty segment")
    if _NAMED_SEGMENT.fullmatch(part):
        return None
    if part in {".", ".."}:
        raise ValueError("a path has no dot segment")
    if not _LITERAL_SEGMENT.fullmatch(part):
        raise ValueError("a segment is {name}, * at the end, or plain ASCII without % ; * { } and spaces")
    return part


@dataclass(frozen=True, slots=True)
class _Entry:
    route: Route
    names: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    named: _Node | None = None
    full: _Entry | None = None
    """The route whose path ends here."""
    tail: _Entry | None = None
    """The route that has `*` here."""


_Found = tuple[_Entry, tuple[str, ...], int, bool]
"""Entry, captured segments, how many segments stand before the tail, and whether it matched without a tail."""


class RouteTable:
    """Finds the one route a path belongs to, in time that depends on the path's depth and not on the number of routes.

    Never gives a route for a path of our own endpoints (`app.core.own_endpoints`), so no door can forget to ask.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises `RouteConflictError` for ties and for routes behind own endpoints, ValueError for a malformed path."""
        self.routes: tuple[Route, ...] = tuple(routes)
        paths = [(route, parse_route_path(route.path)) for route in self.routes]
        conflicts = (*_find_unreachable(paths), *_find_ties(paths))
        if conflicts:
            raise RouteConflictError(conflicts)
        self._exact = {route.path: RouteMatch(route, _NO_PARAMS) for route, path in paths if path.is_exact()}
        self._root = _Node()
        for route, path in paths:
            if not path.is_exact():
                _insert(self._root, route, path)

    def match(self, path: str) -> RouteMatch | None:
        """Returns the most specific route for a raw path, with what its segments and `*` caught, or None."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        if is_own_path(path):
            return None
        segments = path[1:].split("/")
        found = _find(self._root, segments, 0, ())
        if found is None:
            return None
        entry, captured, depth, is_full = found
        params = dict(zip(entry.names, captured, strict=True))
        if not is_full:
            params["path"] = "/".join(segments[depth:])
        return RouteMatch(entry.route, params)


_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


def _insert(root: _Node, route: Route, path: RoutePath) -> None:
    node = root
    for segment in path.segments:
        if segment is None:
            node.named = node.named or _Node()
            node = node.named
        else:
            node = node.literals.setdefault(segment, _Node())
    entry = _Entry(route, path.names)
    if path.has_tail:
        node.tail = entry
    else:
        node.full = entry


def _find(node: _Node, segments: list[str], index: int, captured: tuple[str, ...]) -> _Found | None:
    """Goes down literal segments first: of two matching routes, the one with the literal is the more specific."""
    best: _Found | None = None
    if index < len(segments):
        segment = segments[index]
        child = node.literals.get(segment)
        if child is not None:
            best = _find(child, segments, index + 1, captured)
            if best is not None and best[3]:
                return best
        if node.named is not None and segment:
            other = _find(node.named, segments, index + 1, (*captured, segment))
            if other is not None and (best is None or other[3] or other[2] > best[2]):
                best = other
    elif node.full is not None:
        return node.full, captured, index, True
    if best is None and node.tail is not None:
        return node.tail, captured, index, False
    return best


def _find_unreachable(paths: Sequence[tuple[Route, RoutePath]]) -> Iterator[RouteConflict]:
    for route, path in paths:
        # Only an own `{id}` takes any segment, so what is own with a made-up word in place of the names always is.
        example = "/" + "/".join("x" if segment is None else segment for segment in path.segments)
        if path.segments[:1] == ("admin",) or (is_own_path(example) and not path.has_tail):
            yield RouteConflict(route, None)


def _find_ties(paths: Sequence[tuple[Route, RoutePath]]) -> Iterator[RouteConflict]:
    """Two routes tie when they have one kind and length, share a path, and neither lies within the other."""
    first_by_shape: dict[tuple[tuple[str | None, ...], bool], Route] = {}
    with_names: dict[tuple[int, bool], list[tuple[Route, RoutePath]]] = {}
    for route, path in paths:
        shape = (path.segments, path.has_tail)
        if shape in first_by_shape:
            yield RouteConflict(route, first_by_shape[shape])
            continue
        first_by_shape[shape] = route
        if path.names:
            with_names.setdefault((len(path.segments), path.has_tail), []).append((route, path))
    for group in with_names.values():
        for (first, first_path), (second, second_path) in combinations(group, 2):
            if _cross(first_path.segments, second_path.segments):
                yield RouteConflict(second, first)


def _cross(first: Sequence[str | None], second: Sequence[str | None]) -> bool:
    """Tells whether the two overlap while each is the narrower one somewhere: `/a/{x}/c` and `/a/b/{y}`."""
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    if any(one is not None and other is not None for one, other in pairs) or ("" in first) != ("" in second):
        return False
    return any(one is None for one, _ in pairs) and any(other is None for _, other in pairs)
