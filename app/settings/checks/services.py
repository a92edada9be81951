"""The backends of routes.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.schema import ServiceEntry


def check_services(draft: Draft) -> Iterator[Finding]:
    for name, service in draft.routes.services.items():
        if bool(service.base_url) == bool(service.base_urls):
            yield draft.in_routes("services", name, "base_url", wanted="base_url or base_urls: one of the two")
        if len(set(service.base_urls)) != len(service.base_urls):
            yield draft.in_routes("services", name, "base_urls", wanted="each URL once")
        if len({urlsplit(url).path for url in service.base_urls}) > 1:
            yield draft.in_routes("services", name, "base_urls", wanted="the same path in each URL: backends are equal")
        if service.token.mode in ("resource", "exchange") and not service.token.audience:
            wanted = f"an audience: token mode {service.token.mode} needs one"
            yield draft.in_routes("services", name, "token", "audience", wanted=wanted)
        yield from _check_dpop(draft, name, service)
        if bool(service.tls.cert_file) != bool(service.tls.key_file):
            missing = "key_file" if service.tls.cert_file else "cert_file"
            yield draft.in_routes("services", name, "tls", missing, wanted="certificate and key, or neither")


def _check_dpop(draft: Draft, name: str, service: ServiceEntry) -> Iterator[Finding]:
    mode, dpop, binds_user_tokens = service.token.mode, service.token.dpop, draft.settings.oidc.dpop
    if dpop is None:
        return
    if mode == "none" and dpop:
        wanted = "nothing: token mode none has no token that could be bound"
        yield draft.in_routes("services", name, "token", "dpop", wanted=wanted)
    if mode == "user" and dpop != binds_user_tokens:
        wanted = (
            f"nothing, or {str(binds_user_tokens).lower()} as oidc.dpop of settings.yaml: "
            "the user's own token is one for all services (token modes resource and exchange get one of their own)"
        )
        yield draft.in_routes("services", name, "token", "dpop", wanted=wanted)


def warn_of_services(draft: Draft) -> Iterator[str]:
    used = {route.target_service for route in draft.routes.routes}
    for name, service in draft.routes.services.items():
        if name not in used:
            yield f"services.{name} is not the target of any route"
        yield from _warn_of_unused_keys(name, service)


def _warn_of_unused_keys(name: str, service: ServiceEntry) -> Iterator[str]:
    if service.token.mode in ("none", "user") and (service.token.audience or service.token.scope):
        yield f"services.{name}.token: mode {service.token.mode} makes no use of audience and scope"
    urls = (service.base_url, *service.base_urls)
    has_tls_files = service.tls.ca_file or service.tls.cert_file
    if has_tls_files and not any(url.startswith("https://") for url in urls):
        yield f"services.{name}.tls is without effect: the backend is not called over https"
