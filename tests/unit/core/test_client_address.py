"""H13: only what trusted proxies wrote about the client is believed."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from app.core.client_address import build_forwarded_for, get_client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "lines", "client", "chain"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", "203.0.113.9", id="H13-nothing-forwarded"),
        pytest.param("203.0.113.9", ["1.1.1.1"], "203.0.113.9", "203.0.113.9", id="H13-untrusted-peer"),
        pytest.param("10.0.0.1", [], "10.0.0.1", "10.0.0.1", id="H13-trusted-peer-says-nothing"),
        pytest.param("10.0.0.1", ["203.0.113.9"], "203.0.113.9", "203.0.113.9, 10.0.0.1", id="H13-one-hop"),
        pytest.param(
            "10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9", "203.0.113.9, 10.0.0.1", id="H13-forged-left"
        ),
        pytest.param(
            "10.0.0.1",
            ["1.1.1.1, 203.0.113.9, 10.0.0.2"],
            "203.0.113.9",
            "203.0.113.9, 10.0.0.2, 10.0.0.1",
            id="H13-two-trusted-hops",
        ),
        pytest.param(
            "10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9", "203.0.113.9, 10.0.0.1", id="H13-two-lines"
        ),
        pytest.param("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1", id="all-trusted"),
        pytest.param("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1", "10.0.0.1", id="H13-unknown-hides-the-left"),
        pytest.param("10.0.0.1", ["203.0.113.9,"], "10.0.0.1", "10.0.0.1", id="empty-entry"),
        pytest.param("10.0.0.1", ["203.0.113.9\r\nX: y"], "10.0.0.1", "10.0.0.1", id="line-break"),
        pytest.param("10.0.0.1", ["<script>"], "10.0.0.1", "10.0.0.1", id="nonsense"),
        pytest.param("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9", "203.0.113.9, 10.0.0.1", id="port"),
        pytest.param("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1", "2001:db8::1, 10.0.0.1", id="v6-port"),
        pytest.param("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1", "2001:db8::1, 10.0.0.1", id="v6-brackets"),
        pytest.param("10.0.0.1", ["2001:db8::1"], "2001:db8::1", "2001:db8::1, 10.0.0.1", id="v6"),
        pytest.param("fd00::1", ["203.0.113.9"], "203.0.113.9", "203.0.113.9, fd00::1", id="v6-peer"),
        pytest.param(
            "::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9", "203.0.113.9, ::ffff:10.0.0.1", id="mapped-peer"
        ),
        pytest.param("10.0.0.1", ["::ffff:10.0.0.2"], "10.0.0.2", "10.0.0.2, 10.0.0.1", id="mapped-entry"),
        pytest.param("", ["203.0.113.9"], "203.0.113.9", "203.0.113.9", id="unix-socket"),
        pytest.param("", ["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9", "203.0.113.9, 10.0.0.2", id="unix-chain"),
        pytest.param("", [], "unix", "unix", id="unix-socket-without-a-list"),
        pytest.param(
            "10.0.0.1", ["10.0.0.2," * 900 + "10.0.0.2"] * 90, "10.0.0.2", "10.0.0.2, " * 32 + "10.0.0.1", id="bomb"
        ),
    ],
)
def test_the_client_is_the_right_most_address_that_no_trusted_proxy_has(
    peer: str, lines: list[str], client: str, chain: str
) -> None:
    assert get_client_address(peer, lines, TRUSTED) == client
    assert build_forwarded_for(peer, lines, TRUSTED) == chain


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert get_client_address("10.0.0.1", ["203.0.113.9"], ()) == "10.0.0.1"
