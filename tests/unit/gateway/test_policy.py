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
    policy.check_host("App.example.com:443")
    with pytest.raises(UnknownHostError) as refusal:
        policy.check_host("127.0.0.1:8000")
    assert ("https://app.example.com" in refusal.value.detail) is is_named
