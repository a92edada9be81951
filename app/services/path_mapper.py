"""Maps a call to a permission: which action on which resource it is (DESIGN §11).

First the `authz_map` of the route (or `forward_auth` entry) itself, then `endpoint_map` of pdp.yaml, then, if enabled,
what can be derived from the route; else the call is `unmapped` and refused. Everything is compiled once, at start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from app.core.errors import AmbiguousPathError, UnmappedError
from app.core.forward_auth import ForwardAuthMatch, ForwardAuthRule
from app.core.path_table import PathTable, parse_route_path, share_a_path
from app.core.permission_sources import CallValues, CompiledMapping, compile_mapping
from app.core.permissions import Permission
from app.core.request_target import list_other_spellings
from app.core.routes import PermissionMapping, Route, RouteMatch

_DERIVED_ACTIONS: Mapping[str, str] = {
    "GET": "read",
    "HEAD": "read",
    "POST": "create",
    "PUT": "update",
    "PATCH": "update",
    "DELETE": "delete",
}

_MethodMap = Mapping[str, CompiledMapping]


@dataclass(frozen=True, slots=True)
class MappingSource:
    """Where a mapping stands."""

    kind: Literal["authz_map", "endpoint_map", "derived"]
    path: str
    """As written: the route's, or that of the entry in `endpoint_map`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    source: MappingSource
    methods: _MethodMap


class MappedCall(msgspec.Struct, frozen=True):
    """What a call means, before its query and body have been looked into. `params` are raw."""

    mapping: CompiledMapping
    params: Mapping[str, str]
    source: MappingSource

    @property
    def needs_body(self) -> bool:
        return self.mapping.needs_body

    def resolve(self, query: str | None, body: object = None) -> Permission:
        """Returns the permission that is asked for. `body` is the parsed JSON body, where one is needed.

        Raises `BadRequestError` for values that cannot be told to the decision point.
        """
        return self.mapping.resolve(CallValues(self.params, query, body))


class PathMapper:
    """One serves all requests of a worker."""

    def __init__(
        self,
        routes: Iterable[Route],
        endpoint_map: Mapping[str, Mapping[str, PermissionMapping]],
        *,
        forward_auth: Iterable[ForwardAuthRule] = (),
        is_default_mapping_enabled: bool = False,
    ) -> None:
        """Raises ValueError for a mapping that cannot be compiled; the start-up check has told of it before."""
        self._inline: dict[str, _Entry] = {}
        self._derived: dict[str, _Entry] = {}
        for route in routes:
            inline = MappingSource("authz_map", route.path)
            self._inline[route.id] = _Entry(inline, _compile_methods(route.authz_map))
            if is_default_mapping_enabled:
                derived = MappingSource("derived", route.path)
                self._derived[route.id] = _Entry(derived, _compile_methods(_derive_mappings(route)))
        for rule in forward_auth:
            inline = MappingSource("authz_map", rule.id)
            self._inline[rule.id] = _Entry(inline, _compile_methods(rule.authz_map))
        self._endpoints: PathTable[_Entry] = PathTable(
            (path, _Entry(MappingSource("endpoint_map", path), _compile_methods(methods)))
            for path, methods in endpoint_map.items()
        )

    def map_call(self, match: RouteMatch, method: str, path: str) -> MappedCall:
        """Returns what a call of `method` to the raw `path` means; `match` is the route it goes to (P17).

        Raises `UnmappedError` when nothing says it, `AmbiguousPathError` when it depends on how the path is decoded.
        """
        inline = self._inline[match.route.id]
        mapping = inline.methods.get(method)
        if mapping is not None:
            return MappedCall(mapping, match.params, inline.source)
        mapped = self._find_endpoint(method, path)
        if mapped is not None:
            return mapped
        derived = self._derived.get(match.route.id)
        mapping = derived.methods.get(method) if derived else None
        if derived is None or mapping is None:
            raise UnmappedError
        return MappedCall(mapping, match.params, derived.source)

    def map_forwarded(self, match: ForwardAuthMatch, method: str, path: str) -> MappedCall:
        """As `map_call`, for a request to an application that an edge protects; nothing is derived for it.

        Its body stays with the edge, so a mapping that needs one says nothing about it.
        """
        inline = self._inline[match.rule.id]
        mapping = inline.methods.get(method)
        mapped = MappedCall(mapping, match.params, inline.source) if mapping else self._find_endpoint(method, path)
        if mapped is None or mapped.needs_body:
            raise UnmappedError(internal_reason=f"nothing that a forwarded request tells maps it: {match.rule.id}")
        return mapped

    def list_sources(self, route: Route, method: str) -> tuple[MappingSource, ...]:
        """Where the mappings stand that calls of `method` to the route can meet, in the order they are looked at.

        Empty: every such call is `unmapped`. An entry of `endpoint_map` may speak for a part of the route's paths only.
        """
        if method in self._inline[route.id].methods:
            return (self._inline[route.id].source,)
        shared = [entry.source for entry in self._list_endpoints(route.path) if method in entry.methods]
        derived = self._derived.get(route.id)
        return (*shared, *([derived.source] if derived and method in derived.methods else []))

    def list_forwarded_sources(self, rule: ForwardAuthRule) -> Mapping[str, tuple[MappingSource, ...]]:
        """As `list_sources`, for every method that is mapped at all for an application that an edge protects."""
        inline = self._inline[rule.id]
        sources: dict[str, tuple[MappingSource, ...]] = dict.fromkeys(inline.methods, (inline.source,))
        for entry in self._list_endpoints(rule.path):
            for method, mapping in entry.methods.items():
                if method not in inline.methods and not mapping.needs_body:
                    sources[method] = (*sources.get(method, ()), entry.source)
        return sources

    def _list_endpoints(self, path: str) -> list[_Entry]:
        """The entries of `endpoint_map` that speak for a part at least of the paths that `path` takes."""
        parsed = parse_route_path(path)
        return [e for e in self._endpoints.values if share_a_path(parsed, parse_route_path(e.source.path))]

    def list_actions(self, resource_type: str) -> tuple[str, ...]:
        """All actions that any mapping knows for a type of resource, sorted."""
        known = (*self._inline.values(), *self._derived.values(), *self._endpoints.values)
        return tuple(
            sorted({m.action for entry in known for m in entry.methods.values() if m.resource_type == resource_type})
        )

    def _find_endpoint(self, method: str, path: str) -> MappedCall | None:
        found = self._endpoints.find(path)
        if "%" in path or ";" in path:
            self._check_other_spellings(path, found[0] if found else None)
        mapping = found[0].methods.get(method) if found else None
        return MappedCall(mapping, found[1], found[0].source) if found and mapping else None

    def _check_other_spellings(self, path: str, entry: _Entry | None) -> None:
        """As for routes: a second spelling must not mean something else."""
        for spelling in list_other_spellings(path):
            other = self._endpoints.find(spelling)
            if other is not None and other[0] is not entry:
                raise AmbiguousPathError("What the call means depends on how its path is decoded.")


def _compile_methods(mappings: Mapping[str, PermissionMapping]) -> _MethodMap:
    compiled = {method: compile_mapping(mapping) for method, mapping in mappings.items()}
    if "GET" in compiled:
        compiled.setdefault("HEAD", compiled["GET"])
    return compiled


def _derive_mappings(route: Route) -> dict[str, PermissionMapping]:
    """The route's id as the resource's type, what its last name or `*` caught as its id, and the usual actions."""
    path = parse_route_path(route.path)
    names = (*path.names, "path") if path.has_tail else path.names
    id_from = f"{{{names[-1]}}}" if names else ""
    return {
        method: PermissionMapping(route.id, action, id_from, {})
        for method, action in _DERIVED_ACTIONS.items()
        if method in route.methods
    }
