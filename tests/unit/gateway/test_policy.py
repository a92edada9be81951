"""What every call is judged by, taken from the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import UnknownHostError
from app.gateway.policy import GatewayPolicy
from tests.unit.settings.config_folder import ConfigFolder


@pytest.mark.parametrize(("environment", "is_named"), [("development", True), ("production", False)])
def test_only_in_development_is_who_calls_another_host_told_the_right_one(
    tmp_path: Path, environment: str, is_named: bool
) -> None:
    folder = ConfigFolder(tmp_path)
    folder.change("environment", environment)
    policy = GatewayPolicy.from_settings(folder.load().settings)
    policy.select_origin("App.example.com:443", [], "192.0.2.1")
    with pytest.raises(UnknownHostError) as refusal:
        policy.select_origin("127.0.0.1:8000", [], "192.0.2.1")
    assert ("https://app.example.com" in refusal.value.detail) is is_named


A, B, INTERNAL = "app.example.com", "b.example.com:8443", "bff.internal:8000"
EDGE, STRANGER, UNIX = "10.0.0.1", "192.0.2.1", ""


@pytest.mark.parametrize(
    ("host", "forwarded", "peer", "selected"),
    [
        pytest.param(A, [], STRANGER, f"https://{A}", id="host"),
        pytest.param(B, [], STRANGER, f"https://{B}", id="further-host"),
        pytest.param("B.Example.COM:8443", [], STRANGER, f"https://{B}", id="capitals"),
        pytest.param(A, [B], STRANGER, f"https://{A}", id="H4-stranger"),
        pytest.param(A, [B], EDGE, f"https://{B}", id="edge"),
        pytest.param(A, [B], UNIX, f"https://{B}", id="unix-socket"),
        pytest.param(INTERNAL, [B], EDGE, f"https://{B}", id="edge-with-its-own-host"),
        pytest.param(B, [B], STRANGER, f"https://{B}", id="the-same-twice"),
        pytest.param(INTERNAL, [B], STRANGER, None, id="H4-stranger-without-host"),
        pytest.param("evil.example", [], EDGE, None, id="H21"),
        pytest.param(A, ["evil.example"], EDGE, None, id="edge-says-unknown"),
        pytest.param(A, [A, B], EDGE, None, id="two-lines"),
        pytest.param(A, [f"{B}, {A}"], EDGE, None, id="list"),
        pytest.param("b.example.com", [], STRANGER, None, id="without-its-port"),
        pytest.param("app.example.com.", [], STRANGER, None, id="dot-at-the-end"),
        pytest.param("evil.example@app.example.com", [], STRANGER, None, id="user"),
        pytest.param("", [], STRANGER, None, id="empty"),
    ],
)
def test_a_header_may_only_select_one_of_our_origins(
    tmp_path: Path, host: str, forwarded: list[str], peer: str, selected: str | None
) -> None:
    folder = ConfigFolder(tmp_path)
    folder.change("server.allowed_hosts", [f"https://{B}"])
    folder.change("server.trusted_proxies", ["10.0.0.0/8"])
    policy = GatewayPolicy.from_settings(folder.load().settings)
    if selected is None:
        with pytest.raises(UnknownHostError):
            policy.select_origin(host, forwarded, peer)
    else:
        assert policy.select_origin(host, forwarded, peer).url == selected
