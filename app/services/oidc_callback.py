"""Judges what came to the redirect URI: the authorization response (RFC 6749 §4.1.2, RFC 9207)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.core.errors import BadRequestError, LoginFailedError, LoginStateInvalidError
from app.services.oidc_answers import name_error_code
from app.services.oidc_metadata import ProviderMetadata

SINGLE_PARAMETERS = frozenset(
    {"state", "code", "iss", "error", "error_description", "error_uri", "response", "session_state"}
)
STATE_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_CODE_CHARACTERS = 4096

REFUSAL_SENTENCES = {
    "access_denied": "The login was cancelled, or the identity provider did not allow it.",
    "login_required": "The identity provider wants you to log in.",
    "interaction_required": "The identity provider wants you to log in.",
    "consent_required": "The identity provider wants your consent.",
    "account_selection_required": "The identity provider wants you to choose an account.",
    "temporarily_unavailable": "The identity provider cannot log you in right now.",
}


@dataclass(frozen=True, slots=True)
class CallbackParameters:
    """The response's parameters, each at most once; judged only so far that its login can be looked for."""

    state: str = field(repr=False)
    code: str | None = field(repr=False)
    issuer: str | None
    error: str | None = field(repr=False)


def parse_callback_parameters(pairs: Iterable[tuple[str, str]]) -> CallbackParameters:
    """Raises `BadRequestError` for a repeated parameter, `LoginStateInvalidError` for a state that cannot be ours.

    Parameters that we do not know are ignored, as RFC 6749 §4.1.2 asks.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in SINGLE_PARAMETERS:
            continue
        if name in found:
            raise BadRequestError("A parameter of the login answer is there twice.", internal_reason=f"{name} twice")
        found[name] = value
    if not STATE_PATTERN.fullmatch(found.get("state", "")):
        raise LoginStateInvalidError(internal_reason="the state is missing or malformed")
    return CallbackParameters(found["state"], found.get("code"), found.get("iss"), found.get("error"))


def require_code(parameters: CallbackParameters, metadata: ProviderMetadata) -> str:
    """Returns the authorization code; raises `LoginFailedError` for any other answer.

    The issuer comes first and counts for error answers too: an answer from elsewhere says nothing (RFC 9207 §2.4).
    """
    check_callback_issuer(parameters.issuer, metadata)
    if parameters.error is not None:
        error = name_error_code(parameters.error)
        raise LoginFailedError(REFUSAL_SENTENCES.get(error, ""), internal_reason=f"the provider answered {error}")
    if not parameters.code or len(parameters.code) > MAX_CODE_CHARACTERS:
        raise LoginFailedError(internal_reason="the answer holds no code, or one that is far too long")
    return parameters.code


def check_callback_issuer(issuer: str | None, metadata: ProviderMetadata) -> None:
    """Raises `LoginFailedError` unless `iss` is ours, or is absent where the provider does not promise to send it."""
    if issuer is None and not metadata.sends_issuer_in_callback:
        return
    if issuer != metadata.issuer:
        reason = "iss is missing" if issuer is None else "iss is not the configured issuer"
        raise LoginFailedError(internal_reason=f"callback: {reason}")
