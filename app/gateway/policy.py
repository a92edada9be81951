"""The settings that every proxied call is judged by, taken apart once at start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from app.core.client_address import Network, is_trusted_peer
from app.core.cookies import session_cookie_name
from app.core.errors import UnknownHostError
from app.core.headers import normalise_header_name
from app.core.hosts import OwnOrigin, OwnOrigins
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """What does not change from call to call."""

    origins: OwnOrigins
    unknown_host_detail: str
    """What is said to who called another host. Production does not tell a scanner of addresses whom it has found."""
    allowed_origins: frozenset[str]
    session_cookie: str
    stripped_headers: frozenset[str]
    trusted_networks: tuple[Network, ...]
    stall_seconds: float
    """How long who is sent something may take to accept a piece of it."""
    clock_skew_seconds: float
    """How far the identity provider's clock may be off."""

    @classmethod
    def from_settings(cls, settings: Settings) -> GatewayPolicy:
        origin = settings.server.origin
        cookie = settings.session.cookie
        return cls(
            origins=OwnOrigins(origin, settings.server.allowed_hosts),
            unknown_host_detail=f"The address is {origin}." if settings.environment == "development" else "",
            allowed_origins=frozenset(settings.cors.allow_origins),
            session_cookie=session_cookie_name(cookie.name, https=settings.server.is_https, domain=cookie.domain),
            stripped_headers=frozenset(normalise_header_name(name) for name in settings.headers.strip),
            trusted_networks=tuple(ip_network(network) for network in settings.server.trusted_proxies),
            stall_seconds=settings.server.body_timeout_seconds,
            clock_skew_seconds=settings.oidc.clock_skew_seconds,
        )

    def find_origin(self, host: str, forwarded_hosts: Sequence[str], peer: str) -> OwnOrigin | None:
        """Returns the origin of ours that a call addresses: by `X-Forwarded-Host` from a trusted peer, else by `Host`;
        None when that names none."""
        if forwarded_hosts and list(forwarded_hosts) != [host] and is_trusted_peer(peer, self.trusted_networks):
            host = ",".join(forwarded_hosts)
        return self.origins.find(host)

    def select_origin(self, host: str, forwarded_hosts: Sequence[str], peer: str) -> OwnOrigin:
        """As `find_origin`; raises `UnknownHostError` instead: pages of another name are not ours (H4, H21)."""
        origin = self.find_origin(host, forwarded_hosts, peer)
        if origin is None:
            raise UnknownHostError(self.unknown_host_detail)
        return origin
