"""The schema of `pdp.yaml`: the policy decision point (OpenID AuthZEN 1.0) and what calls mean to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator

from app.settings.schema.formats import parse_base_url, parse_endpoint_path, parse_route_path
from app.settings.schema.model import StrictModel
from app.settings.schema.routes_file import MappingEntry, Method
from app.settings.schema.values import (
    EMPTY_SECRET,
    Amount,
    ClaimNames,
    Count,
    FilePath,
    FilledText,
    Flag,
    List,
    Number,
    PlainText,
    Secret,
    Text,
    Timeout,
    WholeNumber,
)

EndpointPath = Annotated[FilledText, AfterValidator(parse_endpoint_path)]


class PdpConnection(StrictModel):
    """Where the decision point is and how the BFF shows who it is."""

    base_url: Annotated[Text, AfterValidator(parse_base_url)] = ""
    """The decision point's URL; empty: there is none."""
    auth: Annotated[Literal["none", "api_key", "client_credentials"], PlainText] = "none"
    """How the BFF shows who it is."""
    api_key: Secret = EMPTY_SECRET
    """For `auth: api_key`; at least 16 characters."""
    api_key_file: FilePath = ""
    """File that holds `api_key`."""
    client_id: Text = ""
    """For `auth: client_credentials`."""
    client_secret: Secret = EMPTY_SECRET
    """For `auth: client_credentials`; at least 16 characters."""
    client_secret_file: FilePath = ""
    """File that holds `client_secret`."""
    token_url: Annotated[Text, AfterValidator(parse_base_url)] = ""
    """For `auth: client_credentials`: the token endpoint."""
    timeout: Annotated[Timeout, Le(60)] = 2
    """How long one question may take."""
    verify_ssl: Flag = True
    """Check the decision point's certificate. Never switch this off in production."""
    ca_file: FilePath = ""
    """Certificates (PEM) its certificate is checked against; empty: the system's."""


class PdpEndpoints(StrictModel):
    """Paths under `connection.base_url`."""

    evaluation: EndpointPath = "/access/v1/evaluation"
    """One question."""
    batch: EndpointPath = "/access/v1/evaluations"
    """Several questions at once."""
    search_actions: EndpointPath = "/access/v1/search/action"
    """Which actions are allowed. Nothing asks it so far: capabilities are answered by `batch`."""
    metadata: EndpointPath = "/.well-known/authzen-configuration"
    """What the decision point can do."""


class PdpRetry(StrictModel):
    """When a question is asked again."""

    max_retries: Annotated[Count, Le(10)] = 1
    """How often."""
    backoff_factor: Annotated[Number, Ge(0), Le(10)] = 0.1
    """Wait before the first repetition; doubles each time."""
    max_timeout: Timeout = 5
    """How long all attempts together may take."""
    retry_status_codes: Annotated[tuple[Annotated[WholeNumber, Ge(400), Le(599)], ...], List] = (502, 503, 504)
    """HTTP statuses that are worth another attempt."""


class PdpCache(StrictModel):
    """How long decisions are remembered, per worker."""

    enabled: Flag = True
    """Remember decisions at all."""
    ttl_allow: Annotated[Number, Ge(0), Le(3600)] = 30
    """How long a permission is remembered."""
    ttl_deny: Annotated[Number, Ge(0), Le(3600)] = 5
    """How long a refusal is remembered."""
    max_size: Amount = 10_000
    """Decisions remembered at most."""
    shared: Flag = False
    """Let all workers and machines use them, through Redis (`session.store: redis`)."""


class PdpBreaker(StrictModel):
    """When a failing decision point is left alone; calls that need it are refused meanwhile."""

    enabled: Flag = True
    """Leave it alone at all."""
    failure_threshold: Amount = 5
    """Failures in a row that open the breaker."""
    reset_timeout: Timeout = 30
    """How long it is then left alone."""
    min_requests: Amount = 5
    """Questions that must have been asked before the breaker may open."""


class PdpFile(StrictModel):
    """All of `pdp.yaml`."""

    connection: PdpConnection = PdpConnection()
    """Where the decision point is and how the BFF shows who it is."""
    endpoints: PdpEndpoints = PdpEndpoints()
    """Paths under `connection.base_url`."""
    retry: PdpRetry = PdpRetry()
    """When a question is asked again."""
    cache: PdpCache = PdpCache()
    """How long decisions are remembered."""
    circuit_breaker: PdpBreaker = PdpBreaker()
    """When a failing decision point is left alone."""
    max_batch: Annotated[Amount, Le(1000)] = 50
    """Questions sent at once at most; more are sent in several batches."""
    subject_type: FilledText = "user"
    """The type of the subject in every question."""
    subject_claims: ClaimNames = ()
    """Claims of the session sent as subject properties."""
    context: Annotated[
        tuple[Annotated[Literal["acr", "client_address", "time", "route_id", "provider"], PlainText], ...], List
    ] = ()
    """Facts sent along; a question that holds the time is never cached."""
    endpoint_map: Mapping[Annotated[FilledText, AfterValidator(parse_route_path)], Mapping[Method, MappingEntry]] = {}
    """Path → method → what the call means, for routes that bring no `authz_map`."""
