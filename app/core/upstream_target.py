"""Builds the target a backend is asked for, and maps the addresses it answers with back to the client's.

Forward, the bytes the client sent stay as they are: they are put behind the service's base path and into the route's
`upstream_path`, never decoded or encoded. Back, an address under the service's base URL is mapped only when the mapped
path would lead to that very place again; anything else stays as the backend wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from urllib.parse import SplitResult, urlsplit

from app.core.request_target import RequestTarget
from app.core.routes import Route, RouteMatch, RouteTable

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LOCATION = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?P<rest>.*)"
)
"""RFC 3986, appendix B."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def map_base_paths(table: RouteTable) -> dict[str, str]:
    """Returns the path of each service's base URL, by the service's name."""
    return {route.service.name: urlsplit(route.service.base_urls[0]).path for route in table.routes}


def build_upstream_target(match: RouteMatch, target: RequestTarget, base_path: str) -> str:
    """Returns path and query for the backend: the raw bytes in the route's template, behind the service's base path.

    `base_path` is the path of the service's base URL, with or without the slash at its end.
    """
    path = base_path.rstrip("/") + _build_path(match, target.path)
    if not path:
        path = "/"
    return path if target.query is None else f"{path}?{target.query}"


def _build_path(match: RouteMatch, client_path: str) -> str:
    if match.route.preserve_path:
        return client_path
    literals, names = _parse_template(match.route.upstream_path)
    parts = [literals[0]]
    for name, literal in zip(names, literals[1:], strict=True):
        value = match.params[name]
        if name == "path" and not value and not client_path.endswith("/"):
            # `/x/*` matched `/x`: there is no slash to hand on either.
            parts[-1] = parts[-1].removesuffix("/")
        parts += (value, literal)
    return "".join(parts)


@cache
def _parse_template(upstream_path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits `/a/{id}/b` into its literals and its names; there is always one literal more. Bounded by the routes."""
    pieces = _PLACEHOLDER.split(upstream_path)
    return tuple(pieces[0::2]), tuple(pieces[1::2])


def build_forwarded_prefix(match: RouteMatch, base_path: str) -> str:
    """Returns what `X-Forwarded-Prefix` says: what was cut off in front of the path; "" when nothing can be said.

    A backend that puts it in front of its own path gets the client's path. That holds only where the client's path ends
    in the backend's.
    """
    route = match.route
    if route.preserve_path:
        return ""
    prefix = _build_prefix_template(_build_client_template(route), base_path.rstrip("/") + route.upstream_path)
    return _PLACEHOLDER.sub(lambda name: match.params[name[1]], prefix) if "{" in prefix else prefix


@lru_cache(maxsize=1024)
def _build_prefix_template(client: str, upstream: str) -> str:
    return client.removesuffix(upstream) if client.endswith(upstream) else ""


def map_location(location: str, match: RouteMatch, table: RouteTable) -> str:
    """Maps a `Location` or `Content-Location` under the service's base URL back to where the client finds it.

    The matched route is tried first, then the service's other routes (a POST to a list names the new entry, which often
    has a route of its own). Returns the value unchanged when it is relative, points elsewhere, or no route leads there.
    """
    service = match.route.service
    for base_url in service.base_urls:
        path_and_rest = _cut_base(location, urlsplit(base_url))
        if path_and_rest is None:
            continue
        upstream_path, rest = path_and_rest
        others = [route for route in table.routes if route.service.name == service.name and route.id != match.route.id]
        for route in (match.route, *others):
            client_path = _find_client_path(route, upstream_path, match.params, table)
            if client_path is not None:
                return client_path + rest
    return location


def _cut_base(location: str, base: SplitResult) -> tuple[str, str] | None:
    """Splits a location under `base` into the path behind the base path and whatever follows the path."""
    found = _LOCATION.fullmatch(location)
    if found is None:
        return None
    if found["authority"] is None:
        if found["scheme"] is not None:
            return None
    elif not _is_same_authority(found["scheme"] or base.scheme, found["authority"], base):
        return None
    base_path = base.path.rstrip("/")
    path = found["path"]
    if found["authority"] is not None and not path:
        path = "/"
    if path != base_path and not path.startswith(base_path + "/"):
        return None
    return path[len(base_path) :] or "/", found["rest"]


def _is_same_authority(scheme: str, authority: str, base: SplitResult) -> bool:
    try:
        other = urlsplit(f"{scheme.lower()}://{authority}")
        other_port = other.port
    except ValueError:
        return False
    if other.username is not None or other.password is not None or other.scheme != base.scheme:
        return False
    default = _DEFAULT_PORTS.get(base.scheme)
    return other.hostname == base.hostname and (other_port or default) == (base.port or default)


def _find_client_path(route: Route, upstream_path: str, params: Mapping[str, str], table: RouteTable) -> str | None:
    """Returns the path on which the table leads through `route` to exactly `upstream_path`, or None."""
    candidate = upstream_path if route.preserve_path else _fill_client_path(route, upstream_path, params)
    if candidate is None or candidate[1:2] in {"/", "\\"}:
        return None  # a browser would take what follows `//` or `/\` for a host
    found = table.match(candidate)
    return candidate if found is not None and found.route is route else None


def _fill_client_path(route: Route, upstream_path: str, params: Mapping[str, str]) -> str | None:
    """Fills the route's path with what its template caught, and with the call's own values where that is silent."""
    found = _build_template_pattern(route.upstream_path).fullmatch(upstream_path)
    if found is None:
        return None
    caught = found.groupdict()
    template = _build_client_template(route)
    if "path" in caught and caught["path"] is None:
        template = template.removesuffix("/{path}") or "/"
    values = {**params, **{name: value for name, value in caught.items() if value is not None}}
    if any(name not in values for name in _PLACEHOLDER.findall(template)):
        return None
    return _PLACEHOLDER.sub(lambda name: values[name[1]], template)


def _build_client_template(route: Route) -> str:
    return route.path.removesuffix("*") + "{path}" if route.path.endswith("/*") else route.path


@cache
def _build_template_pattern(upstream_path: str) -> re.Pattern[str]:
    """Reads a template backwards. Without a value for `{path}` the slash before it is not there either."""
    literals, names = _parse_template(upstream_path)
    pattern = re.escape(literals[0])
    for index, (name, literal) in enumerate(zip(names, literals[1:], strict=True)):
        if name in names[:index]:
            pattern += f"(?P={name})"
        elif name == "path" and pattern.endswith("/"):
            pattern = pattern.removesuffix("/") + "(?:/(?P<path>.*))?"
        elif name == "path":
            pattern += "(?P<path>.*)"
        else:
            pattern += f"(?P<{name}>[^/]+)"
        pattern += re.escape(literal)
    return re.compile(pattern)
