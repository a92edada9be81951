"""Judges what the identity provider answers: token, PAR and UserInfo answers. Nothing here sends anything.

Each exchange is two functions, one that sends (`oidc_client`) and one that judges, so that the judgement can be tested
with literals. Members we do not know are ignored; members we use are taken only in the shape their RFC gives them. The
texts of the errors are for operators and never repeat a value that came from the wire.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from app.services.control_http import ControlAnswer
from app.services.token_store import TokenSet

MAX_TOKEN_CHARACTERS = 64 * 1024
MAX_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
"""Some providers say "never" with a huge number."""

UNKNOWN_LIFETIME_SECONDS = 300
"""For an access token whose answer names no `expires_in`, which is only RECOMMENDED (RFC 6749 §5.1)."""

BEARER = "Bearer"
DPOP = "DPoP"
TOKEN_PATTERN = re.compile(r"[\x21-\x7e]+")
"""RFC 6749 §A.12 without the space: a token goes into a header field, where a space or a line break would end it."""

ERROR_CODE_PATTERN = re.compile(r"[a-z0-9_]{1,64}")


class AnswerRefusedError(Exception):
    """The answer is not what its RFC says it must be."""


class IdpFailingError(Exception):
    """The provider said that it cannot answer now (5xx, 429): worth another try later."""


class OAuthRefusalError(Exception):
    """The provider understood and said no (RFC 6749 §5.2). `error` is its code, or "unknown" when that is malformed."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the provider refused with {error}")
        self.error = error


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A successful token answer (RFC 6749 §5.1)."""

    access_token: str = field(repr=False)
    token_type: str
    expires_in_seconds: float | None
    refresh_token: str | None = field(repr=False, default=None)
    id_token: str | None = field(repr=False, default=None)
    scope: str = ""

    def to_token_set(self, now: float, dpop_key: str | None = None) -> TokenSet:
        """Returns what is kept of the answer, with the moment its access token expires and the key it is bound to.

        Where the provider did not say how long it lives, a token is renewed in good time if there is anything to renew
        it with, and else used for as long as the session lasts.
        """
        lifetime = self.expires_in_seconds
        if lifetime is None and self.refresh_token is not None:
            lifetime = UNKNOWN_LIFETIME_SECONDS
        expires_at = None if lifetime is None else now + lifetime
        return TokenSet(
            access_token=self.access_token,
            token_type=self.token_type,
            expires_at=expires_at,
            refresh_token=self.refresh_token,
            id_token=self.id_token,
            scope=self.scope,
            obtained_at=now,
            dpop_key=dpop_key,
        )


def parse_json_object(body: bytes) -> dict[str, object]:
    """Returns the JSON object in `body`; raises `AnswerRefusedError` for anything else, NaN and Infinity included."""
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise AnswerRefusedError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise AnswerRefusedError("the body is not a JSON object")
    return document


def parse_token_answer(answer: ControlAnswer, *, token_type: str = BEARER) -> TokenAnswer:
    """Judges a token endpoint's answer; raises one of this module's errors unless it is a usable token of that type.

    A token that was asked for with a proof and comes as `Bearer` is bound to nothing: whoever took it from the answer
    could use it. It is refused rather than used as something weaker than was asked for (RFC 9449 §5).
    """
    check_success(answer, statuses=(200,))
    document = parse_json_object(answer.body)
    answered_type = document.get("token_type")
    if not isinstance(answered_type, str) or answered_type.lower() != token_type.lower():
        raise AnswerRefusedError(f"token_type is not {token_type}")
    access_token = _find_token(document, "access_token")
    if access_token is None:
        raise AnswerRefusedError("access_token is missing")
    scope = document.get("scope")
    return TokenAnswer(
        access_token=access_token,
        token_type=token_type,
        expires_in_seconds=_parse_expires_in(document.get("expires_in")),
        refresh_token=_find_token(document, "refresh_token"),
        id_token=_find_token(document, "id_token"),
        scope=scope if isinstance(scope, str) else "",
    )


def parse_pushed_request_answer(answer: ControlAnswer) -> str:
    """Returns the `request_uri` of a PAR answer (RFC 9126 §2.2); some providers answer 200 where 201 is due."""
    check_success(answer, statuses=(200, 201))
    request_uri = parse_json_object(answer.body).get("request_uri")
    if not isinstance(request_uri, str) or len(request_uri) > 2048 or not TOKEN_PATTERN.fullmatch(request_uri):
        raise AnswerRefusedError("request_uri is missing or malformed")
    return request_uri


def parse_userinfo_answer(answer: ControlAnswer, expected_subject: str) -> dict[str, object]:
    """Returns UserInfo claims that are about `expected_subject` (OIDC Core §5.3.2: else they must not be used)."""
    check_success(answer, statuses=(200,))
    claims = parse_json_object(answer.body)
    if claims.get("sub") != expected_subject:
        raise AnswerRefusedError("the UserInfo answer is about another subject")
    return claims


def check_success(answer: ControlAnswer, *, statuses: tuple[int, ...]) -> None:
    """Raises unless the status is one of `statuses`; an error answer is read for its `error` code (RFC 6749 §5.2)."""
    if answer.status in statuses:
        return
    if answer.status >= 500 or answer.status == 429:
        raise IdpFailingError(f"status {answer.status}")
    if 400 <= answer.status < 500:
        raise OAuthRefusalError(_find_error_code(answer))
    raise AnswerRefusedError(f"unexpected status {answer.status}")


def name_error_code(value: object) -> str:
    """Returns an OAuth error code that is safe to log, or "unknown"."""
    return value if isinstance(value, str) and ERROR_CODE_PATTERN.fullmatch(value) else "unknown"


def _find_error_code(answer: ControlAnswer) -> str:
    try:
        return name_error_code(parse_json_object(answer.body).get("error"))
    except AnswerRefusedError:
        return "unknown"


def _find_token(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TOKEN_CHARACTERS or not TOKEN_PATTERN.fullmatch(value):
        raise AnswerRefusedError(f"{name} is malformed")
    return value


def _parse_expires_in(value: object) -> float | None:
    """Takes a number, a number in a string, or nothing: `expires_in` is only RECOMMENDED (RFC 6749 §5.1)."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnswerRefusedError("expires_in is not a number")
    if value < 0 or (isinstance(value, float) and not math.isfinite(value)):
        raise AnswerRefusedError("expires_in is not a lifetime")
    return float(min(value, MAX_LIFETIME_SECONDS))


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError
