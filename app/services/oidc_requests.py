"""Builds what is sent to the identity provider. Pure: nothing here speaks to anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from app.services.dpop_key import DpopKey
from app.services.oidc_client_auth import Parameters
from app.services.oidc_metadata import ProviderMetadata

MAX_HINT_CHARACTERS = 6 * 1024
"""A longer `id_token_hint` would make a URL that servers refuse; the provider then asks the user instead."""


DEFAULT_RESPONSE_MODE = "query"
"""What a provider does for `code` by itself (OAuth 2.0 Multiple Response Type Encoding Practices §2.1)."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One login as it is asked for at the provider. `state`, `nonce` and `code_verifier` are 256 random bits each."""

    redirect_uri: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    login_parameters: Parameters = field(default=(), repr=False)
    """Already held to the allow-list; ours win over them in any case."""
    dpop_key: DpopKey | None = None
    """What the login's tokens are to be bound to."""


def build_authorization_parameters(
    request: AuthorizationRequest,
    *,
    client_id: str,
    scope: str,
    resources: Sequence[str] = (),
    response_mode: str = DEFAULT_RESPONSE_MODE,
) -> Parameters:
    """Returns the parameters of an authorization request (OIDC Core §3.1.2.1, RFC 7636, RFC 8707 §2.1)."""
    ours = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": request.redirect_uri,
        "scope": scope,
        "state": request.state,
        "nonce": request.nonce,
        "code_challenge": create_s256_code_challenge(request.code_verifier),
        "code_challenge_method": "S256",
    }
    if response_mode != DEFAULT_RESPONSE_MODE:
        ours["response_mode"] = response_mode
    if request.dpop_key is not None:
        ours["dpop_jkt"] = request.dpop_key.thumbprint  # so that a stolen code is of no use (RFC 9449 §10)
    passed_on = tuple((name, value) for name, value in request.login_parameters if name not in {*ours, "resource"})
    return (*ours.items(), *(("resource", resource) for resource in resources), *passed_on)


def build_authorization_url(endpoint: str, parameters: Parameters) -> str:
    """Returns where the browser goes when the parameters travel through it."""
    return str(add_params_to_uri(endpoint, list(parameters)))


def build_pushed_authorization_url(endpoint: str, client_id: str, request_uri: str) -> str:
    """Returns where the browser goes when the parameters were pushed before (RFC 9126 §4)."""
    return str(add_params_to_uri(endpoint, [("client_id", client_id), ("request_uri", request_uri)]))


def build_code_exchange(code: str, redirect_uri: str, code_verifier: str) -> Parameters:
    """Returns the form that exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
    return (
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", code_verifier),
    )


def build_client_credentials_request(audience: str, scope: str, audience_parameter: str) -> Parameters:
    """Returns the form that asks for a token of our own (RFC 6749 §4.4.2, RFC 8707 §2.2)."""
    form = [("grant_type", "client_credentials")]
    if scope:
        form.append(("scope", scope))
    if audience:
        form.append((audience_parameter, audience))
    return tuple(form)


def build_refresh_request(refresh_token: str, audience: str, scope: str, audience_parameter: str) -> Parameters:
    """Returns the form that refreshes, for a service's audience where one is named (RFC 6749 §6, RFC 8707 §2.2)."""
    form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
    if scope:
        form.append(("scope", scope))
    if audience:
        form.append((audience_parameter, audience))
    return tuple(form)


def build_token_exchange_request(subject_token: str, audience: str, scope: str, audience_parameter: str) -> Parameters:
    """Returns the form that trades the user's access token for one for a service (RFC 8693 §2.1)."""
    form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", subject_token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        (audience_parameter, audience),
    ]
    if scope:
        form.append(("scope", scope))
    return tuple(form)


def build_end_session_url(
    metadata: ProviderMetadata, *, client_id: str, id_token_hint: str, post_logout_redirect_uri: str, state: str
) -> str:
    """Returns where the provider ends its own session (OIDC RP-Initiated Logout 1.0 §2)."""
    parameters = [
        ("client_id", client_id),
        ("post_logout_redirect_uri", post_logout_redirect_uri),
        ("state", state),
    ]
    if id_token_hint and len(id_token_hint) <= MAX_HINT_CHARACTERS:
        parameters.insert(0, ("id_token_hint", id_token_hint))
    return str(add_params_to_uri(metadata.end_session_endpoint, parameters))
