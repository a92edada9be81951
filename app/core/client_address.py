"""Which address a call came from, when proxies stand in between.

`X-Forwarded-For` is believed only as far as a chain of trusted proxies reaches: read from its right end, the first
address that is not a trusted proxy's is the client's, and whatever stands further left is what that client claimed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

UNIX_PEER = "unix"
MOST_HOPS = 32
"""No chain of proxies is longer; what stands further left is not looked at."""

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+")


def get_client_address(peer: str, forwarded_for: Sequence[str], trusted_networks: Sequence[Network]) -> str:
    """Returns the client's address: the right-most one that no trusted proxy has.

    `peer` is the socket's other end, `forwarded_for` the values of all `X-Forwarded-For` lines in order. Without a
    trusted peer, or when the list holds no address, that is the peer itself.
    """
    return list_trusted_hops(peer, forwarded_for, trusted_networks)[0]


def build_forwarded_for(peer: str, forwarded_for: Sequence[str], trusted_networks: Sequence[Network]) -> str:
    """Returns what `X-Forwarded-For` tells a backend: the client and the trusted proxies behind it, no claims."""
    return ", ".join(list_trusted_hops(peer, forwarded_for, trusted_networks))


def list_trusted_hops(peer: str, forwarded_for: Sequence[str], trusted_networks: Sequence[Network]) -> list[str]:
    """Returns the addresses that can be believed, the client's first and the peer's last.

    A peer without an address came over a Unix socket: who may connect there is decided by the file's permissions, so it
    is the edge, and is believed. It does not appear in the list unless there is nothing else.
    """
    if peer and (not trusted_networks or not forwarded_for):
        return [peer]
    hops = [peer] if peer else []
    address = _find_address(peer) if peer else None
    is_trusted = not peer or _is_trusted(address, trusted_networks)
    entries = ",".join(forwarded_for).rsplit(",", MOST_HOPS)[-MOST_HOPS:]
    for entry in reversed(entries):
        address = _find_address(entry.strip(" \t")) if is_trusted else None
        if address is None:
            break
        hops.append(str(address))
        is_trusted = _is_trusted(address, trusted_networks)
    return hops[::-1] or [UNIX_PEER]


def is_trusted_peer(peer: str, trusted_networks: Sequence[Network]) -> bool:
    """Tells whether the socket's other end is an edge of ours; see `list_trusted_hops` for one without an address."""
    return not peer or _is_trusted(_find_address(peer), trusted_networks)


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted_networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted_networks)


def _find_address(text: str) -> IPv4Address | IPv6Address | None:
    """Reads an address as proxies write it, with or without a port; None for `unknown` and everything else."""
    with_port = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    try:
        address = ip_address(with_port[1] if with_port else text)
    except ValueError:
        return None
    # A socket that listens on `::` shows IPv4 peers as ::ffff:192.0.2.1 (RFC 4291 §2.5.5.2).
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
