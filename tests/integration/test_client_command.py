"""`bff client` at the real OpenID Provider."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli import main
from tests.integration.login_world import ROUTES, World, build_settings, world

__all__ = ["world"]

pytestmark = pytest.mark.live


def run(world: World, *arguments: str, **oidc: Any) -> Result:
    """Runs the command with the configuration of a deployment that registers itself."""
    settings = build_settings(world.directory, issuer=world.op.issuer, client=world.op.basic_client)
    settings["oidc"] |= {"client_auth": "private_key_jwt", "client_id": "", "client_secret": ""}
    settings["oidc"] |= {"dcr": {"enabled": True, "initial_access_token": "${DCR_IAT:-}"}, **oidc}
    config = world.directory / "config"
    config.mkdir(exist_ok=True)
    (config / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (config / "routes.yaml").write_text(yaml.safe_dump(ROUTES), encoding="utf-8")
    (world.directory / "state").mkdir(mode=0o700, exist_ok=True)
    (world.directory / "keys").mkdir(mode=0o700, exist_ok=True)
    environment = {"DCR_IAT": getattr(world, "token", ""), "FORCE_COLOR": None}
    return CliRunner(env=environment).invoke(main, ["client", *arguments, "--config-dir", str(config)])


def test_it_registers_once_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = world.op.initial_access_token()
    monkeypatch.setattr(world, "token", token, raising=False)
    first = run(world, "register")
    assert first.exit_code == 0, first.output
    assert "Registered." in first.stdout
    assert "Remove DCR_IAT" in first.stderr

    monkeypatch.setattr(world, "token", "", raising=False)
    second = run(world, "register")
    assert (second.exit_code, "Nothing had to be changed." in second.stdout) == (0, True)
    assert "DCR_IAT" not in second.stderr
    shown = run(world, "show")
    assert shown.exit_code == 0
    assert "http://localhost:8000/auth/callback" in shown.stdout
    for output in (first.output, second.output, shown.output):
        assert token not in output
        assert "registration_access_token" not in output


def test_as_json_it_says_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "token", world.op.initial_access_token(), raising=False)
    registered = json.loads(run(world, "register", "--json").stdout)
    shown = json.loads(run(world, "show", "--json").stdout)

    assert registered["change"] == "registered"
    assert registered["problem"] is None
    assert shown == {name: value for name, value in registered.items() if name != "change"}
    assert shown["metadata"]["token_endpoint_auth_method"] == "private_key_jwt"
    assert set(shown) == {"client_id", "issuer", "registered_at", "updated_at", "is_managed", "metadata", "problem"}


def test_without_a_token_it_names_the_next_step(world: World) -> None:
    result = run(world, "register")
    assert result.exit_code == 1
    assert "no_initial_access_token" in result.stderr
    assert "Next step: " in result.stderr
    shown = run(world, "show", "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["problem"]["code"] == "no_initial_access_token"


def test_a_provider_that_is_away_is_the_only_problem_told(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run(world, "register")
    assert "no_initial_access_token" in capfd.readouterr().err
    monkeypatch.setattr(world, "token", "a-token-that-is-not-sent", raising=False)
    result = run(world, "register", issuer="http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "provider_unavailable: " in result.stderr
    assert "127.0.0.1:9" in result.stderr
    assert "no_initial_access_token" not in capfd.readouterr().err


def test_a_secret_is_not_rotated_here(world: World) -> None:
    result = run(world, "register", "--rotate-secret")
    assert result.exit_code == 1
    assert "administrators" in result.stderr
    assert "private_key_jwt" in result.stderr
    assert not [event for event in world.op.events("request") if event["path"].startswith("/reg")]


def test_a_client_that_the_settings_name_is_not_registered(world: World) -> None:
    result = run(world, "register", client_id="bff")
    assert result.exit_code == 1
    assert "oidc.client_id is bff" in result.stderr
    assert run(world, "show", client_id="bff").exit_code == 0


def test_new_makes_a_new_client(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "token", world.op.initial_access_token(), raising=False)
    first = json.loads(run(world, "register", "--json").stdout)
    monkeypatch.setattr(world, "token", world.op.initial_access_token(), raising=False)
    second = json.loads(run(world, "register", "--new", "--json").stdout)
    assert second["change"] == "registered"
    assert second["client_id"] != first["client_id"]


def test_new_without_a_token_leaves_the_client_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "token", world.op.initial_access_token(), raising=False)
    first = json.loads(run(world, "register", "--json").stdout)
    monkeypatch.setattr(world, "token", "", raising=False)
    refused = run(world, "register", "--new")
    assert (refused.exit_code, "The present client stays." in refused.stderr) == (1, True)
    shown = json.loads(run(world, "show", "--json").stdout)
    assert (shown["client_id"], shown["problem"]) == (first["client_id"], None)
