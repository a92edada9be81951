from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli import main
from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    return ConfigFolder(tmp_path)


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env={"BFF_CONFIG_DIR": None, **environ}).invoke(main, arguments)


def test_a_sound_configuration_passes_the_check(folder: ConfigFolder) -> None:
    result = run("config", "check", "--config-dir", str(folder.write()))
    assert result.exit_code == 0
    assert "is sound: 1 service, 1 route, no warnings." in result.output


def test_the_shipped_configuration_passes_the_check_without_any_variable() -> None:
    result = run("config", "check")
    assert (result.exit_code, "is sound" in result.output) == (0, True)


def test_the_check_lists_every_fault_one_a_line(folder: ConfigFolder) -> None:
    folder.change("environment", "test")
    folder.change_route(auth=None)
    result = run("config", "check", BFF_CONFIG_DIR=str(folder.write()))
    assert result.exit_code == 1
    heading, *lines = result.output.splitlines()
    assert heading == "The configuration has 2 faults."
    assert re.match(
        r"settings\.yaml:\d+: environment: found 'test'; wanted one of 'production', 'development'$", lines[0]
    )
    assert re.match(
        r"routes\.yaml:\d+: routes\[0\]\.auth: found nothing; wanted one of 'session', 'bearer', 'none': it", lines[1]
    )


def test_the_check_shows_warnings_and_passes(folder: ConfigFolder) -> None:
    folder.change_route(authz=None)
    result = run("config", "check", "--config-dir", str(folder.write()))
    assert result.exit_code == 0
    assert "warning: route /api/forms/*: auth session without a word about authz" in result.output
    assert "1 warning." in result.output


def test_plain_output_is_not_wrapped_coloured_or_taken_as_markup(folder: ConfigFolder) -> None:
    folder.change("environment", "[bold red]" + "x" * 60)
    result = run("config", "check", "--config-dir", str(folder.write()), COLUMNS="40")
    assert "[bold red]" in result.output
    assert "\x1b" not in result.output
    assert len(result.output.splitlines()) == 2


def test_a_terminal_gets_the_faults_grouped_by_file(folder: ConfigFolder) -> None:
    folder.change("environment", "[bold]")
    folder.change_route(auth=None)
    folder.write()
    result = run("config", "check", "--config-dir", str(folder.path), FORCE_COLOR="1", COLUMNS="100")
    assert result.exit_code == 1
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert text != result.output
    lines = [line.strip() for line in text.splitlines()]
    assert lines.index("settings.yaml") < lines.index("routes.yaml")
    assert re.search(r"line \d+ +environment *\n +found +'\[bold\]' *\n +wanted +one of", text)


def test_a_missing_folder_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    result = run("config", "check", "--config-dir", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert "no such folder" in result.output


def test_show_prints_all_four_files_as_yaml_documents(folder: ConfigFolder) -> None:
    result = run("config", "show", "--config-dir", str(folder.write()))
    assert result.exit_code == 0
    settings, routes, pdp, idps = yaml.safe_load_all(result.output)
    assert settings["oidc"]["client_id"] == "bff"
    assert routes["services"]["crud"]["retry"] == 1
    assert pdp["subject_type"] == "user"
    assert idps == {"idps": []}
    assert GOOD_SECRET not in result.output


def test_show_prints_one_file_and_the_origin_of_overrides(folder: ConfigFolder) -> None:
    result = run("config", "show", "settings", BFF_CONFIG_DIR=str(folder.write()), BFF_LOGGING__LEVEL="debug")
    assert "level: debug  # BFF_LOGGING__LEVEL" in result.output
    assert "routes" not in yaml.safe_load(result.output)


def test_show_tells_faults_as_the_check_does(folder: ConfigFolder) -> None:
    folder.change("oidc.client_secret", "hunter2")
    result = run("config", "show", "--config-dir", str(folder.write()))
    assert result.exit_code == 1
    assert "oidc.client_secret" in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("file", ["settings", "routes", "pdp", "idps"])
def test_schema_prints_json_schema(file: str) -> None:
    result = run("config", "schema", file)
    assert result.exit_code == 0
    assert json.loads(result.output)["title"] == f"{file}.yaml"


def test_schema_is_of_the_settings_unless_told() -> None:
    assert json.loads(run("config", "schema").output)["title"] == "settings.yaml"


@pytest.mark.parametrize("arguments", [["-h"], ["config", "-h"], ["config", "check", "-h"], ["--version"]])
def test_help_is_there(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 0


@pytest.mark.parametrize("arguments", [["confg"], ["config", "chek"], ["config", "schema", "other"], ["config", "--x"]])
def test_a_wrong_command_is_explained(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_the_command_is_installed_and_exits_as_the_check_says(folder: ConfigFolder) -> None:
    folder.change("environment", "test")
    command = [str(Path(sys.executable).with_name("bff")), "config", "check", "--config-dir", str(folder.write())]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "environment" in finished.stdout
    assert finished.stderr == ""


def test_the_check_refuses_a_key_file_that_a_start_refuses(folder: ConfigFolder, tmp_path: Path) -> None:
    key_file = tmp_path / "data_keys"
    key_file.write_text(base64.b64encode(bytes(range(32))).decode() + "\n", encoding="ascii")
    folder.change("tokens.data_key_file", str(key_file))
    key_file.chmod(0o646)
    refused = run("config", "check", "--config-dir", str(folder.write()))
    assert (refused.exit_code, f"Run: chmod 0600 {key_file}" in refused.output) == (1, True)
    key_file.chmod(0o600)
    assert run("config", "check", "--config-dir", str(folder.write())).exit_code == 0


@pytest.mark.parametrize("group", ["", "client", "config", "keys", "sessions"])
def test_no_command_is_described_by_half_a_sentence(group: str) -> None:
    usage, *lines = run(*group.split(), "--help").output.splitlines()
    assert usage.startswith("Usage: ")
    assert [line for line in lines if line.endswith("...")] == []
