"""Calls to backends with tokens that are bound to a key of ours (RFC 9449 §7).

Every attempt carries a proof of its own for the URL that it really goes to. A backend that wants a nonce says so, and
the call is sent once more if its body is still at hand. When that cannot be done, or does not help, the caller hears
`service_token_unavailable` and not the backend's 401: the user's login is not what is wrong. As the nonce is known from
then on, the caller's next try is likely to pass.
"""

from __future__ import annotations

from collections.abc import Callable

from app.core.dpop import has_nonce_challenge
from app.core.errors import ServiceTokenUnavailableError
from app.core.routes import Service
from app.services.dpop_exchange import build_token_headers
from app.services.dpop_key import BoundToken, get_origin
from app.services.dpop_nonces import NonceMemory
from app.services.replayable_body import ReplayableBody
from app.services.upstream_client import Upstream, UpstreamRequest, UpstreamResponse


class BoundCalls:
    """Built once per worker, shared by all its calls."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._clock = clock
        self._nonces = NonceMemory()

    def open(self, service: Service, request: UpstreamRequest, token: BoundToken) -> UpstreamResponse:
        """As `UpstreamClient.open`, with the token; raises `ServiceTokenUnavailableError` for a call that the backend
        wants a nonce for and that cannot be sent (again) with one."""
        body = None if request.body is None else ReplayableBody(request.body)
        signer = _Signer(token, request.method, self._nonces, self._clock)
        signed = request.with_url_headers(signer.build_headers, body)
        response = self._upstream.open(service, signed)
        has_nonce = self._note_nonce(response, signer.url)
        if not _is_challenge(response):
            return response
        response.close()
        if not has_nonce:
            raise _refuse("without one that could be used")
        if body is not None and not body.rewind():
            raise _refuse("when the body had already flowed")
        response = self._upstream.open(service, signed)
        self._note_nonce(response, signer.url)
        if _is_challenge(response):
            response.close()
            raise _refuse("again and again")
        return response

    def _note_nonce(self, response: UpstreamResponse, url: str) -> bool:
        values = _find_values(response, "dpop-nonce")
        return bool(values) and self._nonces.note(get_origin(url), values)


class _Signer:
    """Makes the header lines of one call's attempts, and remembers where the last one went."""

    def __init__(self, token: BoundToken, method: str, nonces: NonceMemory, clock: Callable[[], float]) -> None:
        self._token = token
        self._method = method
        self._nonces = nonces
        self._clock = clock
        self.url = ""

    def build_headers(self, url: str) -> list[tuple[str, str]]:
        self.url = url
        nonce = self._nonces.find(get_origin(url))
        return list(build_token_headers(self._token, self._method, url, now=self._clock(), nonce=nonce).items())


def _is_challenge(response: UpstreamResponse) -> bool:
    return response.status == 401 and has_nonce_challenge(_find_values(response, "www-authenticate"))


def _find_values(response: UpstreamResponse, wanted: str) -> list[str]:
    return [value for name, value in response.headers if name.lower() == wanted]


def _refuse(how: str) -> ServiceTokenUnavailableError:
    return ServiceTokenUnavailableError(internal_reason=f"the backend wants a DPoP nonce, {how}")
