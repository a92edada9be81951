"""The settings that every proxied call is judged by, taken apart once at start."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import urlsplit

from app.core.client_address import Network
from app.core.cookies import session_cookie_name
from app.core.errors import UnknownHostError
from app.core.headers import normalise_header_name
from app.core.hosts import list_own_hosts
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """What does not change from call to call."""

    own_origin: str
    own_host: str
    """`host[:port]` of `server.public_url`, as a browser writes it into `Host`."""
    own_hosts: frozenset[str]
    """The lower-case values of `Host` that name it."""
    unknown_host_detail: str
    """What is said to who called another host. Production does not tell a scanner of addresses whom it has found."""
    own_scheme: str
    login_url: str
    allowed_origins: frozenset[str]
    session_cookie: str
    stripped_headers: frozenset[str]
    trusted_networks: tuple[Network, ...]
    clock_skew_seconds: float
    """How far the identity provider's clock may be off."""

    @classmethod
    def from_settings(cls, settings: Settings) -> GatewayPolicy:
        origin = settings.server.origin
        cookie = settings.session.cookie
        return cls(
            own_origin=origin,
            own_host=urlsplit(origin).netloc,
            own_hosts=list_own_hosts(origin),
            unknown_host_detail=f"The address is {origin}." if settings.environment == "development" else "",
            own_scheme=urlsplit(origin).scheme,
            login_url=f"{origin}/auth/login",
            allowed_origins=frozenset(settings.cors.allow_origins),
            session_cookie=session_cookie_name(cookie.name, https=settings.server.is_https, domain=cookie.domain),
            stripped_headers=frozenset(normalise_header_name(name) for name in settings.headers.strip),
            trusted_networks=tuple(ip_network(network) for network in settings.server.trusted_proxies),
            clock_skew_seconds=settings.oidc.clock_skew_seconds,
        )

    def check_host(self, host: str) -> None:
        """Raises `UnknownHostError` unless `public_url` is called: pages of another name are not ours."""
        if host.lower() not in self.own_hosts:
            raise UnknownHostError(self.unknown_host_detail)
