"""Which values of `Host` (RFC 9110 §7.2) name an origin."""

from __future__ import annotations

from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def list_own_hosts(origin: str) -> frozenset[str]:
    """Returns the lower-case values a client may send for `origin`; a default port may be written or left out."""
    parts = urlsplit(origin.lower())
    default_port = _DEFAULT_PORTS[parts.scheme]
    if parts.port is None:
        return frozenset({parts.netloc, parts.netloc + default_port})
    return frozenset({parts.netloc, parts.netloc.removesuffix(default_port)})
