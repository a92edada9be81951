"""Step 7: the header lines that a backend gets, as they go on the wire.

What a client's lines say to a backend is the same in each of its calls, and so is who calls in a session; both are
encoded once where the door remembers such calls. New with each call are its ids and the token.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.core.headers import encode_call_lines, encode_caller_lines
from app.core.routes import RouteMatch
from app.core.upstream_target import build_forwarded_prefix
from app.gateway.call import Call
from app.gateway.head_facts import HeadReader
from app.services.dpop_key import AccessToken, BoundToken

LONGEST_KEPT_BYTES = 512
"""Far more than the usual; who can choose long names at the provider must not fill the memory with them."""


class BackendLines:
    """One a worker."""

    def __init__(self, heads: HeadReader, base_paths: Mapping[str, str]) -> None:
        """`base_paths` has the path of each service's base URL."""
        self._heads = heads
        self._base_paths = base_paths

    def build(self, call: Call, match: RouteMatch, token: AccessToken | None) -> bytes:
        """Raises `BadRequestError` for a client's line that could split the message, `InternalError` for our own."""
        shared = self._heads.encode_shared_lines(call.facts, call.own_origin, match.route.request_cookies)
        own = encode_call_lines(
            correlation_id=call.request_id,
            traceparent=call.traceparent,
            # A token that is bound goes with a proof, which belongs to one attempt.
            bearer=None if isinstance(token, BoundToken) else token,
        )
        return shared + self._encode_caller_lines(call, match) + own

    def _encode_caller_lines(self, call: Call, match: RouteMatch) -> bytes:
        precedent = call.caller_precedent
        if precedent is not None and precedent.lines is not None:
            return precedent.lines
        prefix = build_forwarded_prefix(match, self._base_paths[match.route.service.name])
        lines = encode_caller_lines(prefix=prefix, identity=call.identity)
        if precedent is not None and len(lines) <= LONGEST_KEPT_BYTES:
            precedent.lines = lines
        return lines
