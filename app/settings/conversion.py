"""Turns the files, as written, into the values the data plane works with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from app.core.forward_auth import ForwardAuthRule, ForwardAuthTable
from app.core.routes import (
    PermissionMapping,
    Route,
    RouteConflictError,
    RouteTable,
    Service,
    ServiceToken,
)
from app.settings.checks.draft import Draft
from app.settings.checks.permissions import choose_entry_authz
from app.settings.checks.route_entries import choose_authz
from app.settings.findings import Finding
from app.settings.schema import RouteEntry, ServiceEntry
from app.settings.schema.routes_file import MappingEntry
from app.settings.sources import ROUTES


def build_services(draft: Draft) -> dict[str, Service]:
    binds = draft.settings.oidc.dpop
    return {name: _build_service(name, entry, binds) for name, entry in draft.routes.services.items()}


def _build_service(name: str, entry: ServiceEntry, binds_tokens: bool) -> Service:
    return Service(
        name=name,
        base_urls=entry.base_urls or (entry.base_url,),
        token=ServiceToken(
            entry.token.mode,
            entry.token.audience,
            entry.token.scope,
            is_bound=binds_tokens if entry.token.dpop is None else entry.token.dpop,
        ),
        connect_timeout_seconds=entry.connect_timeout_seconds,
        read_timeout_seconds=entry.read_timeout_seconds,
        total_timeout_seconds=entry.total_timeout_seconds,
        retry=entry.retry,
        max_connections=entry.max_connections,
        breaker_failures=entry.circuit_breaker.failures,
        breaker_reset_seconds=entry.circuit_breaker.reset_seconds,
        ca_file=entry.tls.ca_file,
        cert_file=entry.tls.cert_file,
        key_file=entry.tls.key_file,
    )


def build_route_table(draft: Draft, services: dict[str, Service]) -> tuple[RouteTable, list[Finding]]:
    """The table of all sound routes, and what keeps the others out of it: ids given twice, ties, our own endpoints."""
    entries = [
        (index, entry)
        for index, entry in enumerate(draft.routes.routes)
        if not draft.findings.has(ROUTES, ("routes", index, "path"))
    ]
    findings = list(_find_repeated_ids(entries))
    routes = {index: _build_route(draft, entry, services) for index, entry in entries}
    try:
        return RouteTable(routes.values()), findings
    except RouteConflictError as error:
        places = {id(route): index for index, route in routes.items()}
        for conflict in error.conflicts:
            wanted = "a path that can match something else than the BFF's own endpoints"
            if conflict.other is not None:
                line = draft.findings.sources[ROUTES].locate(("routes", places[id(conflict.other)], "path"))[1]
                wanted = (
                    f"another path: this one is already at line {line}"
                    if conflict.other.path == conflict.route.path
                    else f"a path that does not tie with {conflict.other.path} (line {line}): "
                    "of two routes for one path, one must be more specific"
                )
            findings.append(draft.in_routes("routes", places[id(conflict.route)], "path", wanted=wanted))
        return RouteTable(()), findings


def build_forward_auth(draft: Draft) -> ForwardAuthTable:
    """The table of what `/auth/verify` may open; that its paths do not tie is checked elsewhere."""
    return ForwardAuthTable(
        ForwardAuthRule(
            entry.host,
            entry.path,
            "pdp" if choose_entry_authz(draft, entry) == "pdp" else "none",
            entry.login_redirect,
            build_permission_mappings(entry.authz_map),
        )
        for entry in draft.routes.forward_auth
    )


def build_permission_mappings(entries: Mapping[str, MappingEntry]) -> dict[str, PermissionMapping]:
    """One `authz_map`, or one path of `endpoint_map`: what each method means."""
    return {
        method: PermissionMapping(entry.resource, entry.action, entry.id_from, entry.props)
        for method, entry in entries.items()
    }


def _find_repeated_ids(entries: list[tuple[int, RouteEntry]]) -> Iterator[Finding]:
    first_paths: dict[str, str] = {}
    for index, entry in entries:
        route_id = choose_id(entry)
        if route_id in first_paths and not (first_paths[route_id] == entry.path and not entry.id):
            wanted = f"an id of its own: {route_id} is the route {first_paths[route_id]}"
            yield Finding(ROUTES, ("routes", index, "id"), repr(route_id), wanted)
        first_paths.setdefault(route_id, entry.path)


def choose_id(entry: RouteEntry) -> str:
    """The id as written, or made from the path: `/api/crud/forms/*` becomes `api-crud-forms`."""
    return entry.id or re.sub(r"[^A-Za-z0-9_.]+", "-", entry.path).strip("-.") or "root"


def _build_route(draft: Draft, entry: RouteEntry, services: dict[str, Service]) -> Route:
    unknown = _build_service(entry.target_service, ServiceEntry(), binds_tokens=False)
    return Route(
        id=choose_id(entry),
        path=entry.path,
        service=services.get(entry.target_service, unknown),
        upstream_path=entry.upstream_path,
        preserve_path=entry.preserve_path,
        auth=entry.auth,
        methods=frozenset(entry.methods) | ({"HEAD"} if "GET" in entry.methods else frozenset()),
        authz="pdp" if choose_authz(draft, entry) == "pdp" else "none",
        authz_map=build_permission_mappings(entry.authz_map),
        streaming=entry.streaming,
        websocket=entry.websocket,
        navigation=entry.navigation,
        max_body_bytes=entry.max_body_bytes,
        rate_limit=entry.rate_limit,
        max_age_seconds=entry.max_age_seconds,
        acr_values=entry.acr_values,
        allow_in_path=frozenset(entry.allow_in_path),
        request_cookies=frozenset(entry.request_cookies),
        response_cookies=frozenset(entry.response_cookies),
        allow_anonymous_service_token=entry.allow_anonymous_service_token,
    )
