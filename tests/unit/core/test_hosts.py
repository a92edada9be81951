"""H21: which `Host` values are ours."""

from __future__ import annotations

import pytest

from app.core.hosts import list_own_hosts


@pytest.mark.parametrize(
    ("origin", "hosts"),
    [
        ("https://app.example.com", {"app.example.com", "app.example.com:443"}),
        ("https://App.Example.com", {"app.example.com", "app.example.com:443"}),
        ("https://app.example.com:443", {"app.example.com", "app.example.com:443"}),
        ("https://app.example.com:8443", {"app.example.com:8443"}),
        ("https://app.example.com:80", {"app.example.com:80"}),
        ("http://localhost", {"localhost", "localhost:80"}),
        ("http://localhost:8000", {"localhost:8000"}),
        ("http://[::1]:8000", {"[::1]:8000"}),
    ],
)
def test_only_the_default_port_may_be_left_out(origin: str, hosts: set[str]) -> None:
    assert list_own_hosts(origin) == hosts
