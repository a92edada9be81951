"""Secrets that are missing, weak, or left as they were in an example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.core.redis_address import RedisUrlError, parse_redis_url
from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.schema.formats import is_loopback_host
from app.settings.sources import SETTINGS

MIN_SECRET_LENGTH = 16
_MIN_DISTINCT_CHARACTERS = 6
_PLACEHOLDERS = ("changeme", "changethis", "replaceme", "replacewith", "placeholder", "password", "insertyour")
_REMEDY = "such as `openssl rand -base64 32` makes"
_PLACEHOLDER_STARTS = ("your", "example", "todo", "xxxx")
_TOKEN = re.compile(r"[\x21-\x7e]+")
DEVELOPMENT_MARK = "developmentonly"
"""Marks a secret that is good for nothing but a provider on the developer's own machine."""


def find_weakness(secret: str) -> str:
    """What is wanted instead of this secret; empty: nothing is wrong with it."""
    letters = re.sub(r"[^a-z0-9]", "", secret.lower())
    if len(secret) < MIN_SECRET_LENGTH:
        return f"at least {MIN_SECRET_LENGTH} random characters, {_REMEDY}"
    if any(word in letters for word in _PLACEHOLDERS) or letters.startswith(_PLACEHOLDER_STARTS):
        return f"a random secret, {_REMEDY}, not a placeholder from an example"
    if len(set(secret)) < _MIN_DISTINCT_CHARACTERS:
        return f"a random secret, {_REMEDY}"
    return ""


def check_client(draft: Draft) -> Iterator[Finding]:
    """The BFF as a client of the identity provider."""
    oidc = draft.settings.oidc
    if not oidc.client_id and not oidc.dcr.enabled:
        yield draft.in_settings("oidc", "client_id", wanted="the client's id, or oidc.dcr.enabled: true")
    if oidc.registers_itself:
        yield from _check_registration(draft)
    elif oidc.client_auth != "private_key_jwt":
        yield from _check_client_secret(draft)
    if "openid" not in oidc.scopes:
        yield draft.in_settings("oidc", "scopes", wanted="a list with openid in it: without it there is no ID token")


def _check_registration(draft: Draft) -> Iterator[Finding]:
    oidc = draft.settings.oidc
    if oidc.client_auth != "private_key_jwt":
        wanted = (
            "private_key_jwt: a client that registers itself proves itself with its own key. A client_secret is given "
            "and changed by the provider's administrators only; a client that has one needs oidc.client_id"
        )
        yield draft.in_settings("oidc", "client_auth", wanted=wanted)
    token = oidc.dcr.initial_access_token.get_secret_value()
    if token and not _TOKEN.fullmatch(token):
        wanted = "a token as the provider gave it: no spaces, no line ends"
        twin = "initial_access_token_file" if oidc.dcr.initial_access_token_file else "initial_access_token"
        yield draft.in_settings("oidc", "dcr", twin, wanted=wanted)


def warn_of_registration(draft: Draft) -> Iterator[str]:
    oidc = draft.settings.oidc
    if oidc.dcr.enabled and oidc.client_id:
        yield "oidc.dcr.enabled has no effect: oidc.client_id says which client this is"
    elif oidc.dcr.initial_access_token.get_secret_value() and not oidc.dcr.enabled:
        yield "oidc.dcr.initial_access_token is not used: oidc.dcr.enabled is false"


def warn_of_unused_secret(draft: Draft) -> Iterator[str]:
    oidc = draft.settings.oidc
    if oidc.client_auth == "private_key_jwt" and oidc.client_secret.get_secret_value():
        yield "oidc.client_secret is not used: oidc.client_auth is private_key_jwt, not client_secret_basic or _post"


def _check_client_secret(draft: Draft) -> Iterator[Finding]:
    oidc = draft.settings.oidc
    secret = oidc.client_secret.get_secret_value()
    if not secret:
        wanted = f"a secret, which {oidc.client_auth} needs: client_secret or client_secret_file"
        yield draft.in_settings("oidc", "client_secret", wanted=wanted)
        return
    wanted = find_weakness(secret)
    if not wanted and DEVELOPMENT_MARK in re.sub(r"[^a-z]", "", secret.lower()) and not _may_be_on_this_machine(draft):
        wanted = "the client's real secret: this one is for development with a provider on loopback"
    if wanted:
        name, wanted = _place(oidc, "client_secret", wanted)
        yield draft.in_settings("oidc", name, wanted=wanted)


def _place(section: object, name: str, wanted: str) -> tuple[str, str]:
    """Which of the twins the deployer used, and what is wanted there."""
    twin = f"{name}_file"
    if getattr(section, twin, ""):
        return twin, f"a file that holds {wanted}"
    return name, f"{wanted}; or {twin} with the name of a file that holds it"


def _may_be_on_this_machine(draft: Draft) -> bool:
    if draft.findings.has(SETTINGS, ("environment",)):
        return True
    host = urlsplit(draft.settings.oidc.issuer).hostname or ""
    return draft.settings.environment == "development" and is_loopback_host(host)


def check_other_secrets(draft: Draft) -> Iterator[Finding]:
    yield from _check_decision_point(draft)
    for index, idp in enumerate(draft.idps.idps):
        secret = idp.client_secret.get_secret_value()
        if secret and (wanted := find_weakness(secret)):
            name, wanted = _place(idp, "client_secret", wanted)
            yield draft.in_idps("idps", index, name, wanted=wanted)
    if draft.settings.session.store == "redis":
        yield from _check_redis(draft)
    elif draft.settings.keys.store == "redis":
        yield draft.in_settings("keys", "store", wanted="directory, or redis together with session.store: redis")


def _check_decision_point(draft: Draft) -> Iterator[Finding]:
    connection = draft.pdp.connection
    needed: tuple[str, ...] = ()
    if connection.auth == "api_key":
        needed = ("api_key",)
    elif connection.auth == "client_credentials":
        needed = ("client_id", "client_secret", "token_url")
    for name in needed:
        value = getattr(connection, name)
        is_secret = not isinstance(value, str)
        text = value.get_secret_value() if is_secret else value
        if not text:
            yield draft.in_pdp("connection", name, wanted=f"a value: connection.auth {connection.auth} needs it")
        elif is_secret and (wanted := find_weakness(text)):
            key, wanted = _place(connection, name, wanted)
            yield draft.in_pdp("connection", key, wanted=wanted)


def _check_redis(draft: Draft) -> Iterator[Finding]:
    try:
        parse_redis_url(draft.settings.session.redis_url.get_secret_value())
    except RedisUrlError as error:
        yield draft.in_settings("session", "redis_url", wanted=f"a Redis URL: {error}")
    if not draft.settings.tokens.data_key_file:
        yield draft.in_settings(
            "tokens", "data_key_file", wanted="a key file, which every machine that shares Redis needs"
        )
