"""The schema of `oidc` in `settings.yaml`: the identity provider, and the BFF as its client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator

from app.settings.schema.formats import (
    parse_claim_name,
    parse_issuer,
    parse_parameter_name,
    parse_scope_value,
)
from app.settings.schema.model import StrictModel
from app.settings.schema.values import (
    EMPTY_SECRET,
    ClaimNames,
    FilePath,
    FilledText,
    Flag,
    List,
    PlainText,
    Secret,
    Text,
    TextList,
    Timeout,
    WholeNumber,
)


class ClaimSettings(StrictModel):
    """Where the user's roles and permissions are read: claim names, the first one present wins."""

    roles: ClaimNames = ("roles", "groups")
    """Claims that may hold the user's roles."""
    permissions: ClaimNames = ("permissions",)
    """Claims that may hold the user's permissions."""


class DcrSettings(StrictModel):
    """Dynamic Client Registration (RFC 7591)."""

    enabled: Flag = False
    """Register the client at the IdP when `client_id` is empty."""
    initial_access_token: Secret = EMPTY_SECRET
    """The token that allows one registration; remove it afterwards."""
    initial_access_token_file: FilePath = ""
    """File that holds `initial_access_token`."""
    client_name: FilledText = "bff-server"
    """The name the client is registered under."""


class OidcSettings(StrictModel):
    """The identity provider and how the BFF is its client."""

    stand_ins: ClassVar[Mapping[str, object]] = {"issuer": "https://stand-in.invalid"}

    issuer: Annotated[FilledText, AfterValidator(parse_issuer)]
    """The IdP's issuer identifier, exactly as its discovery document and its ID tokens give it."""
    provider: Annotated[Text, AfterValidator(parse_claim_name)] = ""
    """Alias of the IdP in X-Original-User; empty: the issuer's host."""
    client_id: Text = ""
    """The client's id at the IdP; empty: registered by DCR."""
    client_auth: Annotated[Literal["private_key_jwt", "client_secret_basic", "client_secret_post"], PlainText] = (
        "private_key_jwt"
    )
    """How the BFF proves to the IdP that it is this client."""
    client_secret: Secret = EMPTY_SECRET
    """The client's secret, for client_secret_basic and client_secret_post; at least 16 characters."""
    client_secret_file: FilePath = ""
    """File that holds `client_secret`."""
    assertion_audience: Annotated[Literal["issuer", "token_endpoint", "endpoint"], PlainText] = "issuer"
    """What a client assertion names as its audience; `endpoint` is the one called."""
    scopes: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_scope_value)], ...], List] = (
        "openid",
        "profile",
        "email",
        "offline_access",
    )
    """Scopes asked for at login; `openid` must be among them."""
    resources: TextList = ()
    """Resource indicators (RFC 8707) asked for at login."""
    audience_parameter: Annotated[Literal["resource", "audience"], PlainText] = "resource"
    """The request parameter that names a service's audience: `resource` (RFC 8707) or `audience`."""
    par: Annotated[Literal["auto", "required", "off"], PlainText] = "auto"
    """Pushed authorization requests (RFC 9126): when the IdP offers them, always, or never."""
    response_mode: Annotated[Literal["query", "form_post", "query.jwt"], PlainText] = "query"
    """How the IdP hands the code back; `query.jwt` is JARM."""
    dpop: Flag = False
    """Bind tokens to a key of ours (RFC 9449)."""
    userinfo: Flag = False
    """Also call UserInfo, at login and after each refresh of the user's token."""
    user_id_claim: Annotated[FilledText, AfterValidator(parse_claim_name)] = "sub"
    """The claim that is the user's id."""
    claims: ClaimSettings = ClaimSettings()
    """Where the user's roles and permissions are read."""
    timeout_seconds: Annotated[Timeout, Le(120)] = 10
    """How long one exchange with the IdP may take in all."""
    clock_skew_seconds: Annotated[WholeNumber, Ge(0), Le(300)] = 30
    """Leeway when the times in a token are judged."""
    ca_file: FilePath = ""
    """Certificates (PEM) the IdP's certificate is checked against; empty: the system's."""
    allow_untyped_logout_token: Flag = False
    """Accept logout tokens without `typ: logout+jwt`."""
    login_parameters: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_parameter_name)], ...], List] = (
        "prompt",
        "login_hint",
        "ui_locales",
        "acr_values",
        "max_age",
    )
    """Parameters that /auth/login may pass on to the IdP."""
    dcr: DcrSettings = DcrSettings()
    """Dynamic Client Registration."""

    @property
    def registers_itself(self) -> bool:
        """Whether the client comes by Dynamic Client Registration."""
        return self.dcr.enabled and not self.client_id

    @property
    def provider_alias(self) -> str:
        """What stands for the IdP in `X-Original-User`."""
        return self.provider or urlsplit(self.issuer).hostname or ""
