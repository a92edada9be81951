"""The forward_auth entries of routes.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.core.path_table import find_ties, parse_route_path
from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.sources import ROUTES


def check_forward_auth(draft: Draft) -> Iterator[Finding]:
    yield from _check_ties(draft)
    server = draft.settings.server
    own_hosts = {urlsplit(origin).hostname for origin in (server.origin, *server.allowed_hosts)}
    domain = draft.settings.session.cookie.domain
    for index, entry in enumerate(draft.routes.forward_auth):
        if entry.host in own_hosts:
            continue
        if not domain or not (entry.host == domain or entry.host.endswith(f".{domain}")):
            wanted = "a host of server.public_url or server.allowed_hosts, or one below session.cookie.domain: "
            yield draft.in_routes(
                "forward_auth", index, "host", wanted=wanted + "browsers send the session cookie to no other"
            )
        elif entry.login_redirect:
            wanted = f"false, or the origin of {entry.host} in server.allowed_hosts: a login returns to no other"
            yield draft.in_routes("forward_auth", index, "login_redirect", wanted=wanted)


def _check_ties(draft: Draft) -> Iterator[Finding]:
    sound = [
        (index, entry)
        for index, entry in enumerate(draft.routes.forward_auth)
        if not draft.findings.has(ROUTES, ("forward_auth", index, "path"))
    ]
    for host in dict.fromkeys(entry.host for _, entry in sound):
        of_host = [(index, parse_route_path(entry.path)) for index, entry in sound if entry.host == host]
        for _, second in find_ties([path for _, path in of_host]):
            wanted = "a path that does not tie with another one of this host: one must be more specific"
            yield draft.in_routes("forward_auth", of_host[second][0], "path", wanted=wanted)


def warn_of_forward_auth(draft: Draft) -> Iterator[str]:
    if draft.routes.forward_auth and not draft.settings.server.trusted_proxies:
        yield (
            "forward_auth has entries, but server.trusted_proxies is empty: "
            "/auth/verify answers nobody but who calls over a Unix socket"
        )
