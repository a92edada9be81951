"""Tells by a connection's own socket whether it came in on `server.internal_bind`.

Never by `SERVER_PORT` or `Host`: on a Unix socket gunicorn takes both from the request. The socket knows its local end;
where a server does not show it, no call is internal.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def build_internal_listener(internal_bind: str) -> Callable[[socket.socket | None], bool]:
    """Returns the test for one `host:port`; a name is looked up now, once."""
    host, _, port_text = internal_bind.rpartition(":")
    port = int(port_text)
    addresses = frozenset(_list_addresses(host.strip("[]")))
    # A socket bound to "any address" shows the address that was called; nothing else can listen on its port then.
    takes_any_address = any(address.is_unspecified for address in addresses)

    def is_internal(connection: socket.socket | None) -> bool:
        local = _get_local_end(connection)
        return local is not None and local[1] == port and (takes_any_address or local[0] in addresses)

    return is_internal


def _get_local_end(connection: socket.socket | None) -> tuple[Address, int] | None:
    if connection is None:
        return None
    try:
        name = connection.getsockname()
    except OSError:
        return None
    if not isinstance(name, tuple):
        return None
    return _normalise(ip_address(name[0].partition("%")[0])), name[1]


def _list_addresses(host: str) -> list[Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [_normalise(ip_address(str(entry[4][0]).partition("%")[0])) for entry in found]


def _normalise(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
