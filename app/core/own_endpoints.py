"""The paths that are the BFF's own, whatever `routes.yaml` says.

Own endpoints win over every wildcard route on both front doors; a route that could match nothing else is a start-up
error (`app.core.routes.RouteTable`). An endpoint is reserved here as soon as it has a name, so that a later release
can add it without taking a path away from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_READ = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})

OWN_ENDPOINTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "/auth/login": _READ,
        "/auth/callback": _READ | _POST,
        "/auth/logout": _READ | _POST,
        "/auth/logout/continue": _READ,
        "/auth/logged-out": _READ,
        "/auth/backchannel-logout": _POST,
        "/auth/session": _READ,
        "/auth/verify": _READ,
        "/auth/forward": _READ,
        "/api/auth/session": _READ,
        "/api/auth/session/refresh": _POST,
        "/.well-known/jwks.json": _READ,
        "/access/v1/evaluation": _POST,
        "/access/v1/evaluations": _POST,
        "/api/me/capabilities": _READ,
        "/api/me/sessions": _READ,
        "/api/me/sessions/{id}": frozenset({"DELETE"}),
        "/health": _READ,
        "/health/live": _READ,
        "/health/ready": _READ,
        "/metrics": _READ,
        "/admin": _READ,
        "/admin/pdp/forget": _POST,
        "/admin/*": _READ | frozenset({"POST", "DELETE"}),
    }
)
"""Path to methods. `{id}` is one non-empty segment, `*` whatever follows."""

FORWARD_AUTH_PATHS = frozenset({"/auth/verify", "/auth/forward"})
"""Called by an edge, in the name of a browser and on behalf of another host."""

_EXACT_PATHS = frozenset(path for path in OWN_ENDPOINTS if "{" not in path and "*" not in path)
_ADMIN_PREFIX = "/admin/"
_SESSION_PREFIX = "/api/me/sessions/"
_CROSS_SITE_PREFIXES = ("/api/auth/", "/api/me/", "/access/v1/")


def is_own_path(path: str) -> bool:
    """Tells whether the raw path belongs to one of our endpoints, whatever the method."""
    if path in _EXACT_PATHS or path.startswith(_ADMIN_PREFIX):
        return True
    return path.startswith(_SESSION_PREFIX) and len(path) > len(_SESSION_PREFIX) and path.count("/") == 4


def needs_cross_site_check(method: str, path: str) -> bool:
    """Tells whether the cross-site rule guards this own endpoint: all that answer to the session cookie.

    `/auth/session` is an alias of `/api/auth/session` and tells the CSRF token too. The rest of `/auth/` is there to be
    reached from another site: the identity provider's redirects, and links to the login.
    """
    if path.startswith(_CROSS_SITE_PREFIXES) or path == "/auth/session":
        return True
    return path == "/auth/logout" and method == "POST"
