"""Judges the claims of a signed authorization response (JARM §2.4). Pure: the signature is another's to check."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.id_token import IdTokenClaimError, parse_audience, parse_numeric_date


class SignedAnswerError(Exception):
    """The answer is not one to a login of ours. The text is for operators and holds no claim value."""


def check_signed_answer_claims(
    claims: Mapping[str, object], *, issuer: str, client_id: str, state: str, now: float, leeway_seconds: float
) -> None:
    """Raises `SignedAnswerError` unless the provider that was asked answers this client, in time, about `state`."""
    if claims.get("iss") != issuer:
        raise SignedAnswerError("iss is not the configured issuer")
    try:
        audience = parse_audience(claims.get("aud"))
        expires_at = parse_numeric_date(claims.get("exp"), "exp")
    except IdTokenClaimError as error:
        raise SignedAnswerError(str(error)) from error
    if client_id not in audience:
        raise SignedAnswerError("aud does not name this client")
    if expires_at + leeway_seconds <= now:
        raise SignedAnswerError("the answer has expired")
    if claims.get("state") != state:
        raise SignedAnswerError("state is not the one that the login was found by")
