"""What is known so far about one proxied call; grows from step to step and ends as one access record."""

from __future__ import annotations

from app.core.cross_site import FetchMetadata
from app.core.headers import HeaderView
from app.core.hosts import OwnOrigin
from app.core.identity import Identity
from app.core.request_target import RequestTarget
from app.core.routes import Route
from app.core.websocket import Handshake
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import ProxyRequest
from app.gateway.precedent import CallerPrecedent
from app.services.session_store import SessionRecord


class Call:
    """One call on its way through the pipeline."""

    def __init__(
        self,
        request: ProxyRequest,
        facts: HeadFacts,
        *,
        request_id: str,
        traceparent: str,
        is_preflight: bool,
        own_origin: OwnOrigin,
        received_at: float,
        started_at: float,
        has_passed_before: bool = False,
    ) -> None:
        self.request = request
        self.facts = facts
        self.request_id = request_id
        self.traceparent = traceparent
        self.is_preflight = is_preflight
        self.own_origin = own_origin
        """The one that is addressed; the main one until that is known."""
        self.received_at = received_at
        """Epoch seconds."""
        self.started_at = started_at
        """Seconds of the monotonic clock."""
        self.has_passed_before = has_passed_before
        """One with the same bytes passed the checks that look at nothing but the head."""
        self.target: RequestTarget | None = None
        self.route: Route | None = None
        self.session: SessionRecord | None = None
        self.session_key: str | None = None
        self.handshake: Handshake | None = None
        """Of a call that asks for a WebSocket."""
        self.identity: Identity | None = None
        self.caller_precedent: CallerPrecedent | None = None
        """What is known from calls with the same bytes, by the same caller."""
        self.presented_token: str | None = None
        """The caller's own access token, on a bearer route."""
        self.admitted_until: float | None = None
        """Epoch seconds at which that token is over; None where there is none, or its issuer does not tell."""
        self.decision = ""
        """What the decision point said, or had said before: allow, deny; empty where it was not asked."""
        self.error_code = ""
        self.upstream_seconds: float | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.is_broken_off = False
        """By us, and so no fault of the backend: the client went away, or the worker stops."""
        self.is_cut_off = False
        """The answer ended before its end: the client went away or the backend broke off."""

    def __repr__(self) -> str:
        """Cookies and tokens are among what it holds."""
        return f"<Call {self.request_id}>"

    @property
    def headers(self) -> HeaderView:
        return self.facts.headers

    @property
    def metadata(self) -> FetchMetadata:
        return self.facts.metadata

    @property
    def client_address(self) -> str:
        return self.facts.client_address

    @property
    def path(self) -> str:
        """The client's path for logs, without its query; empty when it could not be read."""
        return self.target.path if self.target else ""
