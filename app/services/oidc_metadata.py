"""The provider's metadata (OIDC Discovery 1.0, RFC 8414): fetched lazily, judged, cached.

The `issuer` in the document must be the configured one, character by character (OIDC Discovery §4.3); otherwise one
provider could speak for another (mix-up).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.core.errors import IdpUnavailableError
from app.services.control_http import ControlHttp, ControlUnreachableError
from app.services.oidc_answers import AnswerRefusedError, parse_json_object
from app.services.oidc_document_cache import CacheTimes, DocumentCache

TIMES = CacheTimes(lifetime=3600, stale_lifetime=24 * 3600, back_off=5)


class MetadataRefusedError(Exception):
    """The document is not one that can be worked with. The text is for operators."""


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What we use of the metadata. An endpoint that the provider does not have is an empty string."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    revocation_endpoint: str = ""
    pushed_authorization_request_endpoint: str = ""
    registration_endpoint: str = ""
    id_token_signing_algorithms: tuple[str, ...] = ()
    authorization_signing_algorithms: tuple[str, ...] = ()
    """For signed answers to authorization requests (JARM §4)."""
    grant_types: tuple[str, ...] = ()
    """Empty where the provider does not say."""
    requires_pushed_authorization_requests: bool = False
    sends_issuer_in_callback: bool = False
    """`authorization_response_iss_parameter_supported` (RFC 9207 §3)."""


def parse_provider_metadata(document: Mapping[str, object], *, issuer: str, allow_http: bool) -> ProviderMetadata:
    """Judges a discovery document; raises `MetadataRefusedError`. Members we do not know are ignored."""
    if document.get("issuer") != issuer:
        raise MetadataRefusedError("the document's issuer is not the configured one, letter by letter")

    def required(name: str) -> str:
        return _parse_endpoint(document, name, allow_http) or _refuse(f"{name} is missing")

    def optional(name: str) -> str:
        return _parse_endpoint(document, name, allow_http)

    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=required("authorization_endpoint"),
        token_endpoint=required("token_endpoint"),
        jwks_uri=required("jwks_uri"),
        userinfo_endpoint=optional("userinfo_endpoint"),
        end_session_endpoint=optional("end_session_endpoint"),
        revocation_endpoint=optional("revocation_endpoint"),
        pushed_authorization_request_endpoint=optional("pushed_authorization_request_endpoint"),
        registration_endpoint=optional("registration_endpoint"),
        id_token_signing_algorithms=_parse_names(document.get("id_token_signing_alg_values_supported")),
        authorization_signing_algorithms=_parse_names(document.get("authorization_signing_alg_values_supported")),
        grant_types=_parse_names(document.get("grant_types_supported")),
        requires_pushed_authorization_requests=document.get("require_pushed_authorization_requests") is True,
        sends_issuer_in_callback=document.get("authorization_response_iss_parameter_supported") is True,
    )


class MetadataSource:
    """Where everybody gets the metadata. Raises `IdpUnavailableError` while there is none that can be used."""

    def __init__(self, *, issuer: str, http: ControlHttp, clock: Callable[[], float], allow_http: bool) -> None:
        self._issuer = issuer
        self._http = http
        self._allow_http = allow_http
        self._cache = DocumentCache(self._fetch, clock=clock, times=TIMES)

    def get(self) -> ProviderMetadata:
        """Returns the metadata, fetched now if need be."""
        return self._cache.get()

    def find_cached(self) -> ProviderMetadata | None:
        """Returns the metadata if it can be had without asking the provider."""
        return self._cache.find_cached()

    def _fetch(self) -> ProviderMetadata:
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        try:
            answer = self._http.fetch("GET", url)
            if answer.status != 200:
                raise MetadataRefusedError(f"status {answer.status}")
            document = parse_json_object(answer.body)
            return parse_provider_metadata(document, issuer=self._issuer, allow_http=self._allow_http)
        except (ControlUnreachableError, MetadataRefusedError, AnswerRefusedError) as error:
            raise IdpUnavailableError(internal_reason=f"discovery: {error}") from error


def _parse_endpoint(document: Mapping[str, object], name: str, allow_http: bool) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise MetadataRefusedError(f"{name} is not a URL")
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise MetadataRefusedError(f"{name} is not a URL") from error
    if not has_host or parts.username is not None or parts.fragment:
        raise MetadataRefusedError(f"{name} is not a plain URL")
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise MetadataRefusedError(f"{name} is not an https URL")
    return value


def _parse_names(value: object) -> tuple[str, ...]:
    """The texts of a list; a list of anything else tells us nothing, and nothing depends on it."""
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()


def _refuse(reason: str) -> str:
    raise MetadataRefusedError(reason)
