"""The schema of `routes.yaml`: the backends, and which client path leads to which of them.

These models hold a file as written. What the data plane works with is `app.core.routes.Service` and `Route`, built by
`app.settings.conversion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator

from app.core.routes import PathOption, TokenMode
from app.settings.schema.formats import (
    parse_acr_value,
    parse_backend_cookie_name,
    parse_base_url,
    parse_host_name,
    parse_method,
    parse_rate,
    parse_route_id,
    parse_route_path,
    parse_service_name,
    parse_upstream_path,
)
from app.settings.schema.model import StrictModel
from app.settings.schema.values import (
    Amount,
    Count,
    FilePath,
    FilledText,
    Flag,
    List,
    Number,
    PlainText,
    Text,
    Timeout,
)

BaseUrl = Annotated[FilledText, AfterValidator(parse_base_url)]
Method = Annotated[FilledText, AfterValidator(parse_method)]
CookieName = Annotated[FilledText, AfterValidator(parse_backend_cookie_name)]
ServiceName = Annotated[FilledText, AfterValidator(parse_service_name)]
Rate = Annotated[Text, AfterValidator(parse_rate)]


class TokenEntry(StrictModel):
    """The token a service is called with."""

    mode: Annotated[TokenMode, PlainText] = "none"
    """none · client_credentials (the BFF's own) · user (the user's access token) · resource · exchange."""
    audience: Text = ""
    """Whom the token is for."""
    scope: Text = ""
    """Scopes the token is asked for with, separated by spaces."""
    dpop: Flag | None = None
    """Bind the token to a key of ours (RFC 9449); empty: `oidc.dpop` of settings.yaml."""


class BreakerEntry(StrictModel):
    """When a failing service is left alone for a while."""

    failures: Count = 5
    """Failures in a row that open the breaker; 0: it never opens."""
    reset_seconds: Timeout = 30
    """How long the service is then left alone."""


class TlsEntry(StrictModel):
    """TLS towards a service."""

    ca_file: FilePath = ""
    """Certificates (PEM) the service's certificate is checked against; empty: the system's."""
    cert_file: FilePath = ""
    """The BFF's own client certificate (PEM)."""
    key_file: FilePath = ""
    """The client certificate's private key (PEM)."""


class ServiceEntry(StrictModel):
    """A backend."""

    base_url: Annotated[Text, AfterValidator(parse_base_url)] = ""
    """Where the backend is: scheme, host, port, and a path if need be; or `base_urls`."""
    base_urls: Annotated[tuple[BaseUrl, ...], List] = ()
    """Several equal backends, instead of `base_url`; the same path in each."""
    token: TokenEntry = TokenEntry()
    """The token the backend is called with."""
    connect_timeout_seconds: Timeout = 2
    """How long connecting may take."""
    read_timeout_seconds: Timeout = 30
    """Longest silence between two reads; a route with `streaming: true` has none."""
    total_timeout_seconds: Annotated[Number, Ge(0), Le(86_400)] = 0
    """How long a call may take in all; 0: no limit."""
    retry: Annotated[Count, Le(5)] = 1
    """How often a call that cannot have been processed is tried again."""
    max_connections: Annotated[Amount, Le(100_000)] = 256
    """Connections per worker and backend; beyond it calls wait for `connect_timeout_seconds` at most."""
    circuit_breaker: BreakerEntry = BreakerEntry()
    """When a failing backend is left alone."""
    tls: TlsEntry = TlsEntry()
    """TLS towards the backend."""


class MappingEntry(StrictModel):
    """What a method on a path means to the decision point."""

    stand_ins: ClassVar[Mapping[str, object]] = {"resource": "stand-in", "action": "stand-in"}

    resource: FilledText
    """The resource's type."""
    action: FilledText
    """The action's name."""
    id_from: Text = ""
    """Where the resource's id is taken from: text with `{name}` or `{path}` of the path, `?name` of the query,
    `$.field` of the JSON body; empty: `*`."""
    props: Mapping[str, Text] = {}
    """Resource properties by name, taken from the same places; what a call does not have is left out."""


class RouteEntry(StrictModel):
    """One client path, or all below it, and where it leads."""

    stand_ins: ClassVar[Mapping[str, object]] = {"path": "/stand-in", "target_service": "stand-in", "auth": "session"}

    path: Annotated[FilledText, AfterValidator(parse_route_path)]
    """The client path: exact, or `*` at the end, or `{name}` segments."""
    target_service: ServiceName
    """The service it leads to."""
    upstream_path: Annotated[Text, AfterValidator(parse_upstream_path)] = ""
    """The backend's path: `{path}` is what `*` caught, `{name}` a named segment; this or `preserve_path`."""
    auth: Annotated[Literal["session", "bearer", "none"], PlainText]
    """Who may call: a logged-in browser, a caller with a bearer token, or anybody."""
    id: Annotated[Text, AfterValidator(parse_route_id)] = ""
    """The route's name in logs and metrics; empty: made from the path. Must be unique."""
    methods: Annotated[tuple[Method, ...], List] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    """Methods that are let through; HEAD follows GET."""
    authz: Annotated[Literal["none", "pdp"] | None, PlainText] = None
    """Whether the decision point is asked; empty: `authz.default` of settings.yaml."""
    authz_map: Mapping[Method, MappingEntry] = {}
    """What each method means to the decision point; preferred over `endpoint_map` in pdp.yaml."""
    streaming: Flag = False
    """Server-sent events and long downloads: no limit on silence between two reads."""
    websocket: Flag = False
    """Let WebSocket handshakes through."""
    preserve_path: Flag = False
    """Send the client path unchanged; instead of `upstream_path`."""
    navigation: Flag = False
    """May be opened by a link, as downloads are."""
    max_body_bytes: Count = 10_485_760
    """The largest request body."""
    rate_limit: Annotated[Text, AfterValidator(parse_rate)] = ""
    """Calls of this route per session (bearer: user, none: address), as in `100/minute`; empty: no limit."""
    max_age_seconds: Count = 0
    """Step-up (RFC 9470): how old the login may be; 0: any age."""
    acr_values: Annotated[tuple[Annotated[FilledText, AfterValidator(parse_acr_value)], ...], List] = ()
    """Step-up (RFC 9470): the authentication classes that will do; empty: any."""
    allow_in_path: Annotated[tuple[Annotated[PathOption, PlainText], ...], List] = ()
    """Second spellings this route's backend needs: encoded_slash, semicolon, encoded_unreserved."""
    request_cookies: Annotated[tuple[CookieName, ...], List] = ()
    """Names of browser cookies that may go to the backend."""
    response_cookies: Annotated[tuple[CookieName, ...], List] = ()
    """Names of cookies the backend may set in the browser."""
    allow_anonymous_service_token: Flag = False
    """Give anybody's calls the BFF's own token: only for `auth: none` with `client_credentials`."""


class ForwardAuthEntry(StrictModel):
    """One thing that /auth/verify may open."""

    stand_ins: ClassVar[Mapping[str, object]] = {"host": "stand-in.invalid"}

    host: Annotated[FilledText, AfterValidator(parse_host_name)]
    """The host that is asked about."""
    path: Annotated[FilledText, AfterValidator(parse_route_path)] = "/*"
    """The path there: exact, or `*` at the end, or `{name}` segments."""
    authz: Annotated[Literal["none", "pdp"] | None, PlainText] = None
    """Whether the decision point is asked; empty: `authz.default` of settings.yaml."""
    authz_map: Mapping[Method, MappingEntry] = {}
    """What each method means to the decision point, from the path and the query: the body stays with the edge."""
    login_redirect: Flag = False
    """Send a navigation without a session to the login."""


class RoutesFile(StrictModel):
    """All of `routes.yaml`."""

    services: Mapping[ServiceName, ServiceEntry] = {}
    """The backends by name."""
    routes: Annotated[tuple[RouteEntry, ...], List] = ()
    """The client paths; the most specific one wins, their order means nothing."""
    forward_auth: Annotated[tuple[ForwardAuthEntry, ...], List] = ()
    """What /auth/verify may open; no entry is 403."""
