"""What the header lines of a call say, whatever its target and its body are.

All of it follows from the lines and from who is at the other end of the socket, and from nothing else. So where a
client sends the same bytes again, what was found in them the first time still holds (`known_heads`).
"""

from __future__ import annotations

from app.core.client_address import build_forwarded_for
from app.core.cookies import parse_single_session_cookie
from app.core.cross_site import FetchMetadata, build_fetch_metadata, check_cross_site
from app.core.errors import UnknownHostError
from app.core.headers import (
    HeaderView,
    build_client_lines,
    build_edge_lines,
    choose_correlation_id,
    choose_traceparent,
)
from app.core.hosts import OwnOrigin
from app.core.routes import Route
from app.gateway.policy import GatewayPolicy
from app.services.upstream_request_head import encode_lines

MOST_SHARED_LINES = 4


class HeadFacts:
    """What was found when the lines came in, and what steps of a call have found since. Refusals are not kept: who is
    refused is judged anew each time."""

    def __init__(
        self,
        lines: list[tuple[str, str]],
        headers: HeaderView,
        metadata: FetchMetadata,
        *,
        correlation_id: str,
        traceparent: str,
        forwarded_for: str,
        client_address: str,
        own_origin: OwnOrigin | None,
    ) -> None:
        self.lines = lines
        self.headers = headers
        self.metadata = metadata
        self.correlation_id = correlation_id
        """The client's; empty unless it is well formed."""
        self.traceparent = traceparent
        """The same."""
        self.forwarded_for = forwarded_for
        """The client and the trusted proxies behind it; what a backend is told."""
        self.client_address = client_address
        self.own_origin = own_origin
        """The one that is addressed; None where it is none of ours."""
        self.session_id: str | None = None
        """The session cookie, once it has been read and there is one."""
        self.session_key: str | None = None
        """What the store knows that session by; None where it can be none of ours."""
        self.has_session = False
        """A session was found behind the cookie."""
        self.fitting_sites: set[tuple[str, bool]] = set()
        """Method, and whether navigations are allowed, for which the cross-site rule lets the call pass."""
        self.shared_lines: dict[frozenset[str], bytes] = {}
        """By the cookies that a route lets through, of a few routes: the lines for a backend that are the same for each
        such call."""

    def __repr__(self) -> str:
        """Cookies and tokens are among what it holds."""
        return f"<HeadFacts {len(self.lines)}>"


class HeadReader:
    """One a worker."""

    def __init__(self, policy: GatewayPolicy) -> None:
        self._policy = policy

    def read(self, lines: list[tuple[str, str]], peer_address: str) -> HeadFacts:
        """Refuses nothing yet."""
        headers = HeaderView(lines)
        traceparents = headers.get_all("traceparent")
        forwarded_for = build_forwarded_for(
            peer_address, headers.get_all("x-forwarded-for"), self._policy.trusted_networks
        )
        return HeadFacts(
            lines,
            headers,
            build_fetch_metadata(headers),
            correlation_id=choose_correlation_id(headers.get("x-correlation-id"), str),
            # Of two, neither: `tracestate` would belong to one of them.
            traceparent=choose_traceparent(traceparents[0], str) if len(traceparents) == 1 else "",
            forwarded_for=forwarded_for,
            client_address=forwarded_for.partition(",")[0],
            own_origin=self._policy.find_origin(
                headers.get("host") or "", headers.get_all("x-forwarded-host"), peer_address
            ),
        )

    def require_origin(self, facts: HeadFacts) -> OwnOrigin:
        """Raises `UnknownHostError`: pages of another name are not ours (H4, H21)."""
        if facts.own_origin is None:
            raise UnknownHostError(self._policy.unknown_host_detail)
        return facts.own_origin

    def find_session_id(self, facts: HeadFacts) -> str | None:
        """Raises `BadRequestError` where there are several."""
        if facts.session_id is None:
            facts.session_id = parse_single_session_cookie(facts.headers.get_all("cookie"), self._policy.session_cookie)
        return facts.session_id

    def check_cross_site(self, facts: HeadFacts, method: str, own_origin: OwnOrigin, route: Route) -> None:
        """Raises `CsrfFailedError` unless a page that may make this call is behind it."""
        if (method, route.navigation) in facts.fitting_sites:
            return
        check_cross_site(
            method,
            facts.metadata,
            own_origin=own_origin.url,
            allow_origins=self._policy.allowed_origins,
            allows_navigation=route.navigation,
        )
        facts.fitting_sites.add((method, route.navigation))

    def encode_shared_lines(self, facts: HeadFacts, own_origin: OwnOrigin, request_cookies: frozenset[str]) -> bytes:
        """Returns what a backend is told of these lines, and of the way the call came.

        Raises `BadRequestError` for a line that could split the message.
        """
        known = facts.shared_lines.get(request_cookies)
        if known is not None:
            return known
        lines = build_client_lines(
            facts.lines,
            request_cookies=request_cookies,
            keeps_trace=bool(facts.traceparent),
            session_cookie=self._policy.session_cookie,
            extra_strip=self._policy.stripped_headers,
        )
        lines += build_edge_lines(forwarded_for=facts.forwarded_for, proto=own_origin.scheme, host=own_origin.host)
        if len(facts.shared_lines) >= MOST_SHARED_LINES:
            facts.shared_lines.clear()
        encoded = facts.shared_lines[request_cookies] = encode_lines(lines)
        return encoded
