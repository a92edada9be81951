"""Plans how the entries of `endpoint_map` move into the `authz_map` of the routes that they speak for.

An entry that speaks for all paths of a route goes into it. One that speaks for a part of a route's paths makes a route
of its own for them. Where the answer to any call might change, the entries stay, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.core.path_inclusion import express_within, has_placeholder, translate_template
from app.core.path_table import parse_route_path, share_a_path
from app.core.routes import PermissionMapping, Route
from app.settings import Configuration
from app.settings.conversion import build_permission_mappings

_ORDER = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Mappings = Mapping[str, PermissionMapping]


class CannotMoveError(Exception):
    """The entries that touch a route have to stay. Says why."""


@dataclass(frozen=True, slots=True)
class NewRoute:
    """A part of another route's paths."""

    path: str
    upstream_path: str
    id: str
    methods: tuple[str, ...]
    authz_map: Mappings


@dataclass(slots=True)
class RouteChange:
    """What becomes of one route."""

    additions: Mappings = field(default_factory=dict)
    new_routes: list[NewRoute] = field(default_factory=list)
    is_dropped: bool = False
    """Nothing of its own is left that is mapped, and no other route would get its calls."""


@dataclass(slots=True)
class Plan:
    changes: dict[int, RouteChange]
    """By the route's place in the file."""
    moved: tuple[str, ...]
    staying: Mapping[str, str]
    """Entry → why."""


class Planner:
    """For one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._settings = configuration.settings
        self._pdp = configuration.pdp
        self._routes = configuration.route_table.routes
        self._entries = {
            path: build_permission_mappings(methods) for path, methods in configuration.pdp.endpoint_map.items()
        }
        self._paths = {path: parse_route_path(path) for path in (*self._entries, *(r.path for r in self._routes))}

    def plan(self) -> Plan:
        blocked: dict[int, str] = {}
        while True:
            staying = self._find_staying(blocked)
            changes: dict[int, RouteChange] = {}
            for place, route in enumerate(self._routes):
                entries = [entry for entry in self._list_entries(route) if entry not in staying]
                if entries and place not in blocked:
                    try:
                        changes[place] = self._build_change(route, entries)
                    except CannotMoveError as error:
                        blocked[place] = str(error)
                        break
            else:
                moved = tuple(entry for entry in self._entries if entry not in staying)
                return Plan(changes, moved, staying)

    def _find_staying(self, blocked: dict[int, str]) -> dict[str, str]:
        """An entry that stays holds every other one that touches the same route: the order of the two would change."""
        staying: dict[str, str] = {}
        for entry in self._entries:
            if not any(entry in self._list_entries(route) for route in self._routes):
                staying[entry] = "no route asks about these paths"
        for place, reason in list(blocked.items()):
            for entry in self._list_entries(self._routes[place]):
                staying.setdefault(entry, reason)
        size = -1
        while size != len(staying):
            size = len(staying)
            for place, route in enumerate(self._routes):
                entries = self._list_entries(route)
                held = next((entry for entry in entries if entry in staying), None)
                if held is not None:
                    blocked.setdefault(place, staying[held])
                    for entry in entries:
                        staying.setdefault(entry, f"it meets {held} on route {route.id}, and that one stays")
        return staying

    def _list_entries(self, route: Route) -> list[str]:
        """The entries that calls to this route can meet."""
        if route.authz != "pdp":
            return []
        shape = self._paths[route.path]
        return [
            entry
            for entry in self._entries
            if share_a_path(self._paths[entry], shape) and not self._belongs_to_another(entry, route)
        ]

    def _belongs_to_another(self, entry: str, route: Route) -> bool:
        """A more specific route takes all calls that the entry speaks for."""
        return any(
            other is not route and self._is_within(entry, other.path) and self._is_within(other.path, route.path)
            for other in self._routes
        )

    def _is_within(self, inner: str, outer: str) -> bool:
        return express_within(self._paths[inner], self._paths[outer]) is not None

    def _build_change(self, route: Route, entries: list[str]) -> RouteChange:
        covering = [entry for entry in entries if self._is_within(route.path, entry)]
        parts = [entry for entry in entries if entry not in covering]
        if crossing := next((entry for entry in parts if not self._is_within(entry, route.path)), None):
            raise CannotMoveError(f"{crossing} and route {route.id} have some paths in common, and each has others")
        change = RouteChange()
        if covering:
            nearest = next(one for one in covering if all(self._is_within(one, other) for other in covering))
            change.additions = dict(self._translate(nearest, route))
        if parts:
            self._check_parts(route)
            change.new_routes = [self._build_part(route, part, number) for number, part in enumerate(parts, start=1)]
        self._check_rest(route, change)
        return change

    def _translate(self, entry: str, route: Route) -> Iterator[tuple[str, PermissionMapping]]:
        for method, mapping in self._entries[entry].items():
            if method in route.methods and not _says(route.authz_map, method):
                yield method, self._translate_mapping(mapping, route.path, entry)

    def _check_parts(self, route: Route) -> None:
        if self._settings.authz.default_mapping_enabled:
            raise CannotMoveError("it would take a further route, and derived mappings go by a route's id")
        if "route_id" in self._pdp.context:
            raise CannotMoveError("it would take a further route, and the decision point is told a route's id")
        if route.rate_limit:
            raise CannotMoveError(
                f"it would take a further route, which would not count towards the limit of {route.id}"
            )

    def _build_part(self, route: Route, part: str, number: int) -> NewRoute:
        own = {m: self._translate_mapping(mapping, part, route.path) for m, mapping in route.authz_map.items()}
        of_entry = {m: mapping for m, mapping in self._entries[part].items() if not _says(own, m)}
        mapped = {m: mapping for m, mapping in {**own, **of_entry}.items() if m in route.methods}
        if not mapped:
            raise CannotMoveError(f"{part} says nothing about the methods of route {route.id}")
        methods = [
            m for m in _ORDER if m in route.methods and _says(mapped, m) and not (m == "HEAD" and "GET" in mapped)
        ]
        expressions = express_within(self._paths[part], self._paths[route.path])
        upstream_path = translate_template(route.upstream_path, expressions or {})
        if not has_placeholder(upstream_path) and part.strip("/") and not part.endswith("/"):
            upstream_path = upstream_path.rstrip("/") or "/"  # as of a `*` that caught nothing
        return NewRoute(part, upstream_path, self._name_part(route, number), tuple(methods), mapped)

    def _name_part(self, route: Route, number: int) -> str:
        name = f"{route.id}-{number}"
        if any(other.id == name for other in self._routes):
            raise CannotMoveError(f"it would take a further route, and there is a route {name} already")
        return name

    def _check_rest(self, route: Route, change: RouteChange) -> None:
        """What is left of the route must be complete for `validation_strict`, or lead nowhere."""
        rest = {**route.authz_map, **change.additions}
        missing = [method for method in _ORDER if method in route.methods and not _says(rest, method)]
        settings = self._settings.authz
        if not missing or not settings.validation_strict or settings.default_mapping_enabled:
            return
        if rest:
            raise CannotMoveError(f"route {route.id} would be left without a mapping for {', '.join(missing)}")
        shape = self._paths[route.path]
        if fallback := next(
            (
                other.id
                for other in self._routes
                if other is not route
                and share_a_path(self._paths[other.path], shape)
                and not self._is_within(other.path, route.path)
            ),
            None,
        ):
            raise CannotMoveError(
                f"route {route.id} would be left without a mapping, and without it {fallback} would answer"
            )
        change.is_dropped = True

    def _translate_mapping(self, mapping: PermissionMapping, inner: str, outer: str) -> PermissionMapping:
        """As seen from the paths of `inner`, which all belong to `outer`, where the mapping stands."""
        expressions = express_within(self._paths[inner], self._paths[outer]) or {}
        id_from = _translate_source(mapping.id_from, expressions)
        props = {name: _translate_source(text, expressions) for name, text in mapping.props.items()}
        if any(not text for text in props.values()):
            raise CannotMoveError(f"a property at {outer} would always be empty at {inner}")
        return PermissionMapping(mapping.resource, mapping.action, id_from, props)


def _says(mappings: Mappings, method: str) -> bool:
    """HEAD follows GET."""
    return method in mappings or (method == "HEAD" and "GET" in mappings)


def _translate_source(source: str, expressions: Mapping[str, str]) -> str:
    if not source or source.startswith(("$", "?")):
        return source
    translated = translate_template(source, expressions)
    if translated and not has_placeholder(translated):
        raise CannotMoveError(f"{source} would always be {translated!r}, which no source can say")
    return translated
