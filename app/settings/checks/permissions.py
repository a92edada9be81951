"""What calls mean to the decision point: `authz_map` of the routes and `endpoint_map` of pdp.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.core.path_table import RoutePath, find_ties, parse_route_path, share_a_path
from app.core.permission_sources import parse_source
from app.settings.checks.draft import Draft
from app.settings.checks.route_entries import choose_authz
from app.settings.findings import Finding
from app.settings.schema.formats import find_placeholders
from app.settings.schema.pdp_file import PdpEndpoints
from app.settings.schema.routes_file import ForwardAuthEntry, MappingEntry, RouteEntry
from app.settings.sources import PDP, ROUTES
from app.settings.yaml_document import KeyPath


def check_permissions(draft: Draft) -> Iterator[Finding]:
    asking = [
        (index, route)
        for index, route in enumerate(draft.routes.routes)
        if choose_authz(draft, route) == "pdp" and route.auth != "none"
    ]
    askers = [f"route {route.id or route.path}" for _, route in asking]
    askers += [
        f"forward_auth entry {_name(e)}" for e in draft.routes.forward_auth if choose_entry_authz(draft, e) == "pdp"
    ]
    yield from _check_decision_point(draft, askers)
    for index, route in enumerate(draft.routes.routes):
        at: KeyPath = ("routes", index, "authz_map")
        if not draft.findings.has(ROUTES, ("routes", index, "path")):
            yield from _check_sources(draft, ROUTES, at, parse_route_path(route.path), route.authz_map)
    for index, entry in enumerate(draft.routes.forward_auth):
        if not draft.findings.has(ROUTES, ("forward_auth", index, "path")):
            yield from _check_entry(draft, index, entry)
    yield from _check_endpoint_map(draft)
    if draft.pdp.cache.shared and draft.settings.session.store != "redis":
        yield draft.in_pdp("cache", "shared", wanted="false: decisions are shared through Redis (session.store: redis)")
    if draft.settings.authz.validation_strict and not draft.settings.authz.default_mapping_enabled:
        for index, route in asking:
            yield from _check_completeness(draft, index, route)


def warn_of_permissions(draft: Draft) -> Iterator[str]:
    for route in draft.routes.routes:
        if route.authz_map and choose_authz(draft, route) != "pdp":
            yield f"route {route.id or route.path}: authz_map is without effect with authz none"
    for entry in draft.routes.forward_auth:
        if entry.authz_map and choose_entry_authz(draft, entry) != "pdp":
            yield f"forward_auth entry {_name(entry)}: authz_map is without effect with authz none"
    if draft.pdp.endpoints.search_actions != PdpEndpoints().search_actions:
        yield "pdp.yaml: endpoints.search_actions is without effect: nothing asks it; `batch` answers capabilities"


def choose_entry_authz(draft: Draft, entry: ForwardAuthEntry) -> str:
    return entry.authz or draft.settings.authz.default


def _name(entry: ForwardAuthEntry) -> str:
    return entry.host + entry.path


def _check_decision_point(draft: Draft, askers: list[str]) -> Iterator[Finding]:
    if askers and draft.settings.pdp.enabled and not draft.pdp.connection.base_url:
        wanted = f"the decision point's URL: {askers[0]} asks it (authz: pdp)"
        yield draft.in_pdp("connection", "base_url", wanted=wanted)


def _check_entry(draft: Draft, index: int, entry: ForwardAuthEntry) -> Iterator[Finding]:
    """An edge tells method and address of a request, and keeps its body."""
    at: KeyPath = ("forward_auth", index, "authz_map")
    path = parse_route_path(entry.path)
    yield from _check_sources(draft, ROUTES, at, path, entry.authz_map)
    for method, mapping in entry.authz_map.items():
        for key, text in _list_sources(mapping):
            if _is_of_body(text):
                yield draft.in_routes(*at, method, *key, wanted="{name} or ?name: an edge does not tell the body")
    is_strict = draft.settings.authz.validation_strict and choose_entry_authz(draft, entry) == "pdp"
    if is_strict and not entry.authz_map and not _has_endpoint(draft, path):
        wanted = (
            "a mapping that needs no body, here or in endpoint_map of pdp.yaml: with authz pdp and none of them "
            "everything is refused (authz.validation_strict: false starts all the same)"
        )
        yield draft.in_routes(*at, wanted=wanted)


def _has_endpoint(draft: Draft, path: RoutePath) -> bool:
    return any(
        share_a_path(path, parse_route_path(other)) and any(map(_needs_no_body, methods.values()))
        for other, methods in draft.pdp.endpoint_map.items()
        if not draft.findings.has(PDP, ("endpoint_map", other))
    )


def _needs_no_body(mapping: MappingEntry) -> bool:
    return not any(_is_of_body(text) for _, text in _list_sources(mapping))


def _is_of_body(text: str) -> bool:
    return text.startswith("$")


def _check_endpoint_map(draft: Draft) -> Iterator[Finding]:
    places = [path for path in draft.pdp.endpoint_map if not draft.findings.has(PDP, ("endpoint_map", path))]
    parsed = [parse_route_path(path) for path in places]
    for first, second in find_ties(parsed):
        wanted = f"a path that does not tie with {places[first]}: of two for one path, one must be more specific"
        yield Finding(PDP, ("endpoint_map", places[second]), "this path", wanted)
    for path, shape in zip(places, parsed, strict=True):
        yield from _check_sources(draft, PDP, ("endpoint_map", path), shape, draft.pdp.endpoint_map[path])


def _check_sources(
    draft: Draft, file: str, at: KeyPath, path: RoutePath, mappings: Mapping[str, MappingEntry]
) -> Iterator[Finding]:
    known = [*path.names, *(["path"] if path.has_tail else [])]
    for method, mapping in mappings.items():
        for key, text in _list_sources(mapping):
            wanted = _find_fault(text, known)
            if wanted:
                yield Finding(file, (*at, method, *key), draft.findings.tell(file, (*at, method, *key), text), wanted)


def _list_sources(mapping: MappingEntry) -> list[tuple[KeyPath, str]]:
    texts: list[tuple[KeyPath, str]] = [(("props", name), text) for name, text in mapping.props.items()]
    if mapping.id_from:
        texts.append((("id_from",), mapping.id_from))
    return texts


def _find_fault(text: str, known: list[str]) -> str:
    try:
        parse_source(text)
    except ValueError as error:
        return str(error)
    unknown = [] if text.startswith(("$", "?")) else [name for name in find_placeholders(text) if name not in known]
    if not unknown:
        return ""
    names = ", ".join(f"{{{name}}}" for name in known) or "no placeholder at all"
    return f"{names}: the path has no {{{unknown[0]}}}"


def _check_completeness(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    """`authz.validation_strict`: no method of the route may turn out to be unmapped only when somebody calls it."""
    if draft.findings.has(ROUTES, ("routes", index, "path")):
        return
    path = parse_route_path(route.path)
    mapped = set(route.authz_map)
    for other, methods in draft.pdp.endpoint_map.items():
        if not draft.findings.has(PDP, ("endpoint_map", other)) and share_a_path(path, parse_route_path(other)):
            mapped |= set(methods)
    if "GET" in mapped:
        mapped.add("HEAD")
    missing = [method for method in route.methods if method not in mapped]
    if missing:
        wanted = (
            f"a mapping for {', '.join(missing)}, here or in endpoint_map of pdp.yaml: with authz pdp and none of them "
            "every such call is refused (authz.validation_strict: false starts all the same)"
        )
        yield draft.in_routes("routes", index, "authz_map", wanted=wanted)
