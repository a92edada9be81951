"""The issuers of idps.yaml, and the routes that take their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.settings.checks.draft import Draft
from app.settings.checks.route_entries import choose_authz
from app.settings.findings import Finding
from app.settings.schema import IdpEntry
from app.settings.schema.formats import is_loopback_host
from app.settings.sources import SETTINGS

_UNFIT_MODES = ("resource", "exchange")


def check_bearer_tokens(draft: Draft) -> Iterator[Finding]:
    for index, entry in enumerate(draft.idps.idps):
        yield from _check_means(draft, index, entry)
        yield from _check_client(draft, index, entry)
    yield from _check_distinct(draft)
    yield from _check_routes(draft)


def _check_means(draft: Draft, index: int, entry: IdpEntry) -> Iterator[Finding]:
    if bool(entry.jwks_url) == bool(entry.introspection_url):
        yield draft.in_idps("idps", index, "jwks_url", wanted="jwks_url or introspection_url: one of the two")
    if draft.findings.has(SETTINGS, ("environment",)):
        return  # which rule holds is not known
    for key in ("jwks_url", "introspection_url"):
        url = getattr(entry, key)
        if not url or url.startswith("https://"):
            continue
        if draft.settings.environment == "production":
            # Whoever can change what comes back over plain http is who any caller says to be.
            yield draft.in_idps("idps", index, key, wanted="https:// in production")
        elif not is_loopback_host(urlsplit(url).hostname or ""):
            wanted = "https://, or a host on loopback such as localhost in development"
            yield draft.in_idps("idps", index, key, wanted=wanted)


def _check_client(draft: Draft, index: int, entry: IdpEntry) -> Iterator[Finding]:
    if entry.jwks_url or not entry.introspection_url:
        return
    has_secret = bool(entry.client_secret.get_secret_value())
    if not entry.client_id and (has_secret or entry.issuer != draft.settings.oidc.issuer):
        wanted = "the id of a client that may introspect; only for oidc.issuer the BFF's own client serves"
        yield draft.in_idps("idps", index, "client_id", wanted=wanted)
    elif entry.client_id and not has_secret:
        wanted = "the client's secret, or client_secret_file with the name of a file that holds it"
        yield draft.in_idps("idps", index, "client_secret", wanted=wanted)


def _check_distinct(draft: Draft) -> Iterator[Finding]:
    """An entry must be found by its issuer and audience, and two people must not have one X-Original-User."""
    oidc = draft.settings.oidc
    issuer_of_alias = {oidc.provider_alias: oidc.issuer}
    names: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    for index, entry in enumerate(draft.idps.idps):
        if entry.name in names:
            yield draft.in_idps("idps", index, "name", wanted="a name that no other entry has")
        if (entry.issuer, entry.audience) in pairs:
            wanted = "an audience that no other entry has for this issuer"
            yield draft.in_idps("idps", index, "audience", wanted=wanted)
        alias = entry.provider or entry.name
        if issuer_of_alias.setdefault(alias, entry.issuer) != entry.issuer:
            wanted = "an alias that stands for this issuer only: it names the user's provider in X-Original-User"
            yield draft.in_idps("idps", index, "provider", wanted=wanted)
        names.add(entry.name)
        pairs.add((entry.issuer, entry.audience))


def _check_routes(draft: Draft) -> Iterator[Finding]:
    for index, route in enumerate(draft.routes.routes):
        if route.auth != "bearer":
            continue
        if not draft.idps.idps:
            wanted = "session or none, or an issuer in idps.yaml: nobody's bearer tokens are accepted"
            yield draft.in_routes("routes", index, "auth", wanted=wanted)
        service = draft.routes.services.get(route.target_service)
        if service is not None and service.token.mode in _UNFIT_MODES:
            wanted = (
                f"session: {route.target_service} is called with a token made from the user's login "
                f"(mode {service.token.mode}), which a bearer caller does not have"
            )
            yield draft.in_routes("routes", index, "auth", wanted=wanted)


def warn_of_bearer_tokens(draft: Draft) -> Iterator[str]:
    asked = {entry.issuer for entry in draft.idps.idps if entry.introspection_url}
    if len(asked) > 1:
        yield (
            "idps.yaml asks several issuers by introspection: a token that does not name its issuer is refused, "
            "because one issuer must not be shown the tokens of another"
        )
    if draft.idps.idps and not any(route.auth == "bearer" for route in draft.routes.routes):
        yield "idps.yaml has entries, but no route has auth: bearer"
        return
    yield from _warn_of_shared_ids(draft)


def _warn_of_shared_ids(draft: Draft) -> Iterator[str]:
    """A caller is known by `sub`, which one issuer gives once. What goes by it alone must not hear of two issuers."""
    oidc = draft.settings.oidc
    issuers = {entry.issuer for entry in draft.idps.idps}
    asks = any(route.auth == "bearer" and choose_authz(draft, route) == "pdp" for route in draft.routes.routes)
    if asks and issuers - {oidc.issuer} and "provider" not in draft.pdp.context:
        yield (
            "the decision point is asked about callers of several issuers, who may have the same sub, and is not told "
            "which one it is: name provider in the context of pdp.yaml"
        )
    if issuers and oidc.user_id_claim != "sub":
        yield (
            f"oidc.user_id_claim is {oidc.user_id_claim}, and bearer callers are known by their sub: X-User-ID and the "
            "decision point's subject mean two different things, and nobody may choose the one to be the other"
        )
