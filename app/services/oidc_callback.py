"""Judges what came to the redirect URI: the authorization response (RFC 6749 §4.1.2, RFC 9207, JARM)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.core.errors import BadRequestError, LoginFailedError, LoginStateInvalidError
from app.services.oidc_answers import name_error_code
from app.services.oidc_keys import SignatureRefusedError, find_unverified_claims, parse_signed_token
from app.services.oidc_metadata import ProviderMetadata

PLAIN_PARAMETERS = frozenset({"state", "code", "iss", "error", "error_description", "error_uri", "session_state"})
SIGNED_PARAMETER = "response"
"""All of them in one JWT (JARM §2.3.1)."""

STATE_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_CODE_CHARACTERS = 4096

OTHER_MODE = "The login answer did not come in the way that was asked for."

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
    unverified_response: str | None = field(repr=False, default=None)
    """A signed answer. Of what it says only the state was looked at, and nothing is believed yet."""


def parse_callback_parameters(pairs: Iterable[tuple[str, str]], *, is_signed: bool = False) -> CallbackParameters:
    """Raises `BadRequestError` for a repeated parameter and for an answer that came signed or unsigned against what was
    asked for, `LoginStateInvalidError` for a state that cannot be ours.

    Parameters that we do not know are ignored, as RFC 6749 §4.1.2 asks.
    """
    found = _find_single_parameters(pairs)
    if is_signed:
        return _parse_signed_parameters(found)
    if SIGNED_PARAMETER in found:
        raise BadRequestError(OTHER_MODE, internal_reason="the answer is signed, which was not asked for")
    state = _require_state(found.get("state"))
    return CallbackParameters(state, found.get("code"), found.get("iss"), found.get("error"))


def build_verified_parameters(claims: Mapping[str, object], state: str) -> CallbackParameters:
    """Returns the parameters of a signed answer whose signature and claims were found good."""
    return CallbackParameters(state, _read_text(claims, "code"), _read_text(claims, "iss"), _read_text(claims, "error"))


def _find_single_parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in PLAIN_PARAMETERS and name != SIGNED_PARAMETER:
            continue
        if name in found:
            raise BadRequestError("A parameter of the login answer is there twice.", internal_reason=f"{name} twice")
        found[name] = value
    return found


def _parse_signed_parameters(found: Mapping[str, str]) -> CallbackParameters:
    """The state comes first (JARM §2.4): that it is bound to this browser is checked before any key is fetched."""
    if SIGNED_PARAMETER not in found or found.keys() & PLAIN_PARAMETERS:
        raise BadRequestError(OTHER_MODE, internal_reason="the answer, or a part of it, is not signed")
    response = found[SIGNED_PARAMETER]
    try:
        parse_signed_token(response)
    except SignatureRefusedError as error:
        raise LoginStateInvalidError(internal_reason=f"signed answer: {error}") from error
    unverified = find_unverified_claims(response) or {}
    return CallbackParameters(_require_state(unverified.get("state")), None, None, None, response)


def _require_state(state: object) -> str:
    if not isinstance(state, str) or not STATE_PATTERN.fullmatch(state):
        raise LoginStateInvalidError(internal_reason="the state is missing or malformed")
    return state


def _read_text(claims: Mapping[str, object], name: str) -> str | None:
    """Returns a parameter; raises `LoginFailedError` when it is there and is not text."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise LoginFailedError(internal_reason=f"signed answer: {name} is not a string")
    return value


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
