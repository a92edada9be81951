"""Where the BFF stands: origins, cookies, environment."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.core.cookies import is_own_cookie_name
from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.schema.formats import is_loopback_host
from app.settings.sources import SETTINGS
from app.settings.yaml_document import KeyPath


def check_deployment(draft: Draft) -> Iterator[Finding]:
    yield from _check_schemes(draft)
    yield from _check_allowed_hosts(draft)
    yield from _check_cookie(draft)


def _check_schemes(draft: Draft) -> Iterator[Finding]:
    """Plain http shows cookies and codes to the network; only a developer's own machine is exempt."""
    if draft.findings.has(SETTINGS, ("environment",)):
        return  # which rule holds is not known
    server = draft.settings.server
    urls: list[tuple[KeyPath, str]] = [
        (("server", "public_url"), server.public_url),
        (("oidc", "issuer"), draft.settings.oidc.issuer),
        *((("server", "allowed_hosts", index), url) for index, url in enumerate(server.allowed_hosts)),
    ]
    for path, url in urls:
        if url.startswith("https://"):
            continue
        if draft.settings.environment == "production":
            yield draft.in_settings(*path, wanted="https:// in production")
        elif not is_loopback_host(urlsplit(url).hostname or ""):
            yield draft.in_settings(*path, wanted="https://, or a host on loopback such as localhost in development")


def _check_allowed_hosts(draft: Draft) -> Iterator[Finding]:
    """The cookies' names tell http from https, so all origins have one scheme."""
    server = draft.settings.server
    known = {server.origin}
    for index, url in enumerate(server.allowed_hosts):
        if url in known:
            yield draft.in_settings("server", "allowed_hosts", index, wanted="each further origin once")
        elif draft.settings.environment == "development" and url.startswith("https://") != server.is_https:
            yield draft.in_settings("server", "allowed_hosts", index, wanted="the scheme of server.public_url")
        known.add(url)


def _check_cookie(draft: Draft) -> Iterator[Finding]:
    cookie, server = draft.settings.session.cookie, draft.settings.server
    if is_own_cookie_name(cookie.name, session_cookie=""):
        yield draft.in_settings("session", "cookie", "name", wanted="a name that no other cookie of the BFF has")
    if not cookie.domain:
        return
    hosts = [urlsplit(url).hostname or "" for url in (server.public_url, *server.allowed_hosts)]
    wanted = ""
    if not server.is_https:
        wanted = "no domain over plain http"
    elif "." not in cookie.domain:
        wanted = "a domain of at least two labels: browsers refuse a cookie for a whole top-level domain"
    elif not all(host == cookie.domain or host.endswith(f".{cookie.domain}") for host in hosts):
        wanted = "the host of server.public_url, or a domain above it"
    if wanted:
        yield draft.in_settings("session", "cookie", "domain", wanted=wanted)


def warn_of_deployment(draft: Draft) -> Iterator[str]:
    settings = draft.settings
    host = urlsplit(settings.server.public_url).hostname or ""
    if settings.environment == "development" and not is_loopback_host(host):
        yield f"environment: development, though server.public_url names {host}: say production where others reach it"
    if settings.server.is_https and not settings.server.trusted_proxies:
        yield (
            "server.trusted_proxies is empty: the edge that ends TLS is not believed about the client's address, so "
            "all callers count as one for limits and in the logs"
        )
    if settings.environment == "production":
        for origin in settings.cors.allow_origins:
            if origin.startswith("http://"):
                yield f"cors.allow_origins holds {origin}: over plain http anybody on the network can use it"
    if settings.session.idle_timeout_seconds > settings.session.absolute_timeout_seconds:
        yield "session.idle_timeout_seconds is longer than session.absolute_timeout_seconds and so without effect"
    if settings.session.store == "redis" and settings.keys.store == "directory":
        yield (
            "session.store is redis and keys.store is directory: several machines need keys.store: redis too, else the "
            "identity provider finds only the keys of the one that it happens to ask"
        )
    if not settings.pdp.enabled:
        yield "pdp.enabled is false: no decision point is asked, whatever the routes say"
