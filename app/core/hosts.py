"""The origins that are ours, and which of them a call addresses (RFC 9110 §7.2).

A header may select one of the origins that the settings name, by exact match, and nothing else comes from a header:
what redirects, cookies and the cross-site rule are made of is the text of the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class OwnOrigin:
    """One origin on which browsers reach us."""

    url: str
    """Scheme, host and port as a browser serialises them, no slash at the end."""
    scheme: str
    host: str
    """`host[:port]`, as a browser writes it into `Host`."""
    login_url: str


class OwnOrigins:
    """All of them; `main` is the one of `server.public_url`."""

    def __init__(self, public_url: str, further: Iterable[str] = ()) -> None:
        self.main = _build_origin(public_url)
        self._by_host: dict[str, OwnOrigin] = {}
        for url in (*further, public_url):
            self._by_host |= dict.fromkeys(list_own_hosts(url), _build_origin(url))

    def find(self, host: str) -> OwnOrigin | None:
        """Returns the origin that a value of `Host` names."""
        return self._by_host.get(host.lower())


def list_own_hosts(origin: str) -> frozenset[str]:
    """Returns the lower-case values a client may send for `origin`; a default port may be written or left out."""
    parts = urlsplit(origin.lower())
    default_port = _DEFAULT_PORTS[parts.scheme]
    if parts.port is None:
        return frozenset({parts.netloc, parts.netloc + default_port})
    return frozenset({parts.netloc, parts.netloc.removesuffix(default_port)})


def _build_origin(url: str) -> OwnOrigin:
    parts = urlsplit(url)
    return OwnOrigin(url, parts.scheme, parts.netloc, f"{url}/auth/login")
