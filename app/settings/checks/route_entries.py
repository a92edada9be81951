"""The routes of routes.yaml, each by itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from app.core.cookies import is_own_cookie_name
from app.core.path_table import parse_route_path
from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.schema import RouteEntry
from app.settings.schema.formats import find_placeholders
from app.settings.sources import ROUTES

_USER_TOKENS = ("user", "resource", "exchange")


def check_routes(draft: Draft) -> Iterator[Finding]:
    for index, route in enumerate(draft.routes.routes):
        yield from _check_target(draft, index, route)
        yield from _check_upstream_path(draft, index, route)
        yield from _check_anonymous(draft, index, route)
        yield from _check_mapping(draft, index, route)
        yield from _check_step_up(draft, index, route)
        yield from _check_rest(draft, index, route)


def choose_authz(draft: Draft, route: RouteEntry) -> str:
    """`authz` of a route. The default is for callers that are known: with `auth: none` there is nobody to ask about."""
    if route.authz is not None:
        return route.authz
    return "none" if route.auth == "none" else draft.settings.authz.default


def _check_target(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    known = draft.routes.services
    if route.target_service in known:
        return
    close = difflib.get_close_matches(route.target_service, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f": {', '.join(known) or 'none is defined'}"
    yield draft.in_routes("routes", index, "target_service", wanted=f"the name of a service{hint}")


def _check_upstream_path(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    if draft.findings.has(ROUTES, ("routes", index, "path")):
        return
    if bool(route.upstream_path) == route.preserve_path:
        wanted = (
            "a path, or preserve_path: true instead" if not route.upstream_path else "nothing: preserve_path is true"
        )
        yield draft.in_routes("routes", index, "upstream_path", wanted=wanted)
        return
    known = _list_names(route)
    unknown = [name for name in find_placeholders(route.upstream_path) if name not in known]
    if unknown:
        yield draft.in_routes("routes", index, "upstream_path", wanted=_tell_names(unknown[0], known))


def _list_names(route: RouteEntry) -> list[str]:
    path = parse_route_path(route.path)
    return [*path.names, *(["path"] if path.has_tail else [])]


def _tell_names(unknown: str, known: list[str]) -> str:
    names = ", ".join(f"{{{name}}}" for name in known) or "no placeholder at all"
    return f"{names}: the route's path has no {{{unknown}}}"


def _check_anonymous(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    """What needs to know the caller cannot stand on a route that anybody may call."""
    if route.auth != "none":
        return
    if route.authz == "pdp":
        yield draft.in_routes("routes", index, "authz", wanted="none: with auth none there is nobody to ask about")
    service = draft.routes.services.get(route.target_service)
    mode = service.token.mode if service else "none"
    if mode in _USER_TOKENS:
        wanted = f"session or bearer: {route.target_service} is called with the user's token (mode {mode})"
        yield draft.in_routes("routes", index, "auth", wanted=wanted)
    elif mode == "client_credentials" and not route.allow_anonymous_service_token:
        wanted = (
            f"session or bearer: {route.target_service} is called with the BFF's own token, which "
            "nobody gets unknown unless the route says allow_anonymous_service_token: true"
        )
        yield draft.in_routes("routes", index, "auth", wanted=wanted)


def _check_mapping(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    for method in route.authz_map:
        if method not in route.methods and not (method == "HEAD" and "GET" in route.methods):
            wanted = f"one of the route's methods: {', '.join(route.methods)}"
            yield draft.in_routes("routes", index, "authz_map", method, wanted=wanted)


def _check_step_up(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    """A demand that no login can meet would keep everybody out."""
    asked = {"max_age_seconds": bool(route.max_age_seconds), "acr_values": bool(route.acr_values)}
    for key in (key for key, is_asked in asked.items() if is_asked):
        parameter = key.removesuffix("_seconds")
        if route.auth != "session":
            yield draft.in_routes("routes", index, key, wanted=f"nothing: with auth {route.auth} there is no login")
        elif parameter not in draft.settings.oidc.login_parameters:
            wanted = f"nothing, or {parameter} among oidc.login_parameters: a login has to ask for it"
            yield draft.in_routes("routes", index, key, wanted=wanted)


def _check_rest(draft: Draft, index: int, route: RouteEntry) -> Iterator[Finding]:
    if not route.methods:
        yield draft.in_routes("routes", index, "methods", wanted="at least one method")
    if route.websocket and "GET" not in route.methods:
        yield draft.in_routes("routes", index, "methods", wanted="GET among them: a WebSocket is opened with it")
    session_cookie = draft.settings.session.cookie.name
    for key in ("request_cookies", "response_cookies"):
        for place, name in enumerate(getattr(route, key)):
            if is_own_cookie_name(name, session_cookie):
                wanted = "the name of a backend's cookie: the BFF's own never pass"
                yield draft.in_routes("routes", index, key, place, wanted=wanted)


def warn_of_routes(draft: Draft) -> Iterator[str]:
    for route in draft.routes.routes:
        name = route.id or route.path
        if route.auth == "session" and route.authz is None:
            yield f"route {name}: auth session without a word about authz; it gets {choose_authz(draft, route)}"
        if route.allow_anonymous_service_token and route.auth != "none":
            yield f"route {name}: allow_anonymous_service_token is without effect with auth {route.auth}"
        if route.path.endswith("*") and route.upstream_path and "{path}" not in route.upstream_path:
            yield f"route {name}: everything that * catches leads to the one path {route.upstream_path}"
    if not draft.routes.routes:
        yield "routes.yaml has no routes: nothing is proxied"
