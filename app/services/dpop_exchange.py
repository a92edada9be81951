"""Exchanges with the identity provider that carry a DPoP proof (RFC 9449 §5 and §8).

Every attempt has a proof of its own. A provider that wants a nonce says so and is asked once more; a nonce that comes
with any other answer serves the next exchange.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.core.dpop import has_nonce_challenge
from app.services.control_http import ControlAnswer
from app.services.dpop_key import BoundToken, DpopKey, build_proof, get_origin
from app.services.dpop_nonces import NonceMemory
from app.services.oidc_answers import AnswerRefusedError, parse_json_object

SendAttempt = Callable[[dict[str, str], float], ControlAnswer]
"""Sends one attempt, with these header lines added and within this many seconds."""


class DpopExchange:
    """Built once per worker. `send` is asked once or twice, and whatever it raises passes."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout_seconds` bounds both attempts together."""
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._provider_nonces = NonceMemory()
        self._resource_nonces = NonceMemory()

    def post(self, endpoint: str, key: DpopKey, send: SendAttempt) -> ControlAnswer:
        """Runs a request to the token endpoint; the answer may still be a challenge when the second one was, too."""
        nonces = self._provider_nonces

        def build_headers() -> dict[str, str]:
            return {
                "DPoP": build_proof(key, "POST", endpoint, now=self._clock(), nonce=nonces.find(get_origin(endpoint)))
            }

        return self._run(endpoint, nonces, build_headers, _is_provider_challenge, send)

    def get_resource(self, url: str, token: BoundToken, send: SendAttempt) -> ControlAnswer:
        """Runs a GET that shows a bound access token."""
        nonces = self._resource_nonces

        def build_headers() -> dict[str, str]:
            return build_token_headers(token, "GET", url, now=self._clock(), nonce=nonces.find(get_origin(url)))

        return self._run(url, nonces, build_headers, _is_resource_challenge, send)

    def _run(
        self,
        url: str,
        nonces: NonceMemory,
        build_headers: Callable[[], dict[str, str]],
        is_challenge: Callable[[ControlAnswer], bool],
        send: SendAttempt,
    ) -> ControlAnswer:
        give_up_at = self._monotonic() + self._timeout_seconds
        answer = send(build_headers(), self._timeout_seconds)
        has_nonce = _note_nonce(nonces, url, answer)
        if not (has_nonce and is_challenge(answer)):
            return answer
        answer = send(build_headers(), give_up_at - self._monotonic())
        _note_nonce(nonces, url, answer)
        return answer


def build_token_headers(token: BoundToken, method: str, url: str, *, now: float, nonce: str | None) -> dict[str, str]:
    """Returns the lines that show a bound token to a resource (RFC 9449 §7.1)."""
    proof = build_proof(token.key, method, url, now=now, nonce=nonce, access_token=token.access_token)
    return {"Authorization": f"DPoP {token.access_token}", "DPoP": proof}


def _note_nonce(nonces: NonceMemory, url: str, answer: ControlAnswer) -> bool:
    value = answer.headers.get("dpop-nonce")
    return value is not None and nonces.note(get_origin(url), [value])


def _is_provider_challenge(answer: ControlAnswer) -> bool:
    """RFC 9449 §8: 400; some providers answer 401, as they do to a client they do not trust."""
    if answer.status not in (400, 401):
        return False
    try:
        return parse_json_object(answer.body).get("error") == "use_dpop_nonce"
    except AnswerRefusedError:
        return False


def _is_resource_challenge(answer: ControlAnswer) -> bool:
    return answer.status == 401 and has_nonce_challenge([answer.headers.get("www-authenticate", "")])
