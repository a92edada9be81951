from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.settings.secret_files import tell_wanted_file
from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

OTHER_SECRET = "pW3-8xJ5_sD2kL7hF4gV9"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "client_secret"
    path.write_text(f"{OTHER_SECRET}\n")
    return path


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file_without_the_line_end(folder: ConfigFolder, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f"  {OTHER_SECRET} {ending}".encode())
    folder.change("oidc.client_secret", None)
    folder.change("oidc.client_secret_file", str(path))
    assert folder.load().settings.oidc.client_secret.get_secret_value() == f"  {OTHER_SECRET} "


def test_secret_and_file_together_are_a_fault(folder: ConfigFolder, secret_file: Path) -> None:
    folder.change("oidc.client_secret_file", str(secret_file))
    fault = folder.find_fault()
    assert fault.key == "oidc.client_secret_file"
    assert "not both" in fault.wanted


def test_secret_and_file_together_in_the_environment_are_a_fault(folder: ConfigFolder, secret_file: Path) -> None:
    environ = {"BFF_OIDC__CLIENT_SECRET": GOOD_SECRET, "BFF_OIDC__CLIENT_SECRET_FILE": str(secret_file)}
    assert folder.find_fault(environ).file == "BFF_OIDC__CLIENT_SECRET_FILE"


def test_a_file_named_in_the_environment_wins_over_the_secret_in_yaml(folder: ConfigFolder, secret_file: Path) -> None:
    settings = folder.load({"BFF_OIDC__CLIENT_SECRET_FILE": str(secret_file)}).settings
    assert settings.oidc.client_secret.get_secret_value() == OTHER_SECRET


def test_a_secret_in_the_environment_wins_over_the_file_named_in_yaml(folder: ConfigFolder) -> None:
    folder.change("oidc.client_secret", None)
    folder.change("oidc.client_secret_file", "/nowhere")
    settings = folder.load({"BFF_OIDC__CLIENT_SECRET": GOOD_SECRET}).settings
    assert settings.oidc.client_secret.get_secret_value() == GOOD_SECRET


def test_an_empty_twin_is_no_twin(folder: ConfigFolder) -> None:
    folder.change("oidc.client_secret_file", "")
    assert folder.load({"BFF_OIDC__CLIENT_SECRET_FILE": ""}).settings.oidc.client_secret.get_secret_value()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\n", id="only-a-line-end"),
        pytest.param(b"\xff\xfe" * 20, id="not-utf-8"),
        pytest.param(b"x" * 70_000, id="too-long"),
    ],
)
def test_a_file_without_a_secret_is_the_only_fault(folder: ConfigFolder, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    folder.change("oidc.client_secret", None)
    folder.change("oidc.client_secret_file", str(path))
    fault = folder.find_fault()
    assert fault.key == "oidc.client_secret_file"
    assert "a file" in fault.wanted


def test_a_folder_is_no_secret(folder: ConfigFolder, tmp_path: Path) -> None:
    folder.change("oidc.client_secret", None)
    folder.change("oidc.client_secret_file", str(tmp_path))
    fault = folder.find_fault()
    assert (fault.key, fault.wanted) == ("oidc.client_secret_file", "a file that can be read: this is a folder")


@pytest.mark.parametrize("key", ["oidc.client_secret_file", "tokens.data_key_file"])
def test_a_file_that_is_not_there_is_told_as_that(folder: ConfigFolder, tmp_path: Path, key: str) -> None:
    folder.change("oidc.client_secret", None if "secret" in key else GOOD_SECRET)
    folder.change(key, str(tmp_path / "nothing"))
    assert folder.find_fault().wanted == "a file that can be read: there is none of this name"


def test_a_file_that_may_not_be_read_is_told_with_the_user() -> None:
    """Directly, because root, as whom tests may run, may read everything."""
    wanted = f"a file that can be read: this one may not be read by user id {os.geteuid()}"
    assert tell_wanted_file(PermissionError()) == wanted


def test_a_weak_secret_in_a_file_is_as_weak(folder: ConfigFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("changeme")
    folder.change("oidc.client_secret", None)
    folder.change("oidc.client_secret_file", str(tmp_path / "secret"))
    fault = folder.find_fault()
    assert (fault.key, fault.line is not None) == ("oidc.client_secret_file", True)
    assert "changeme" not in str(fault)


def test_every_secret_has_its_twin(folder: ConfigFolder, secret_file: Path) -> None:
    folder.change("session.redis_url_file", str(secret_file))
    folder.change("oidc.dcr.initial_access_token_file", str(secret_file))
    folder.pdp = {"connection": {"api_key_file": str(secret_file), "client_secret_file": str(secret_file)}}
    configuration = folder.load()
    settings, connection = configuration.settings, configuration.pdp.connection
    secrets = (
        settings.session.redis_url,
        settings.oidc.dcr.initial_access_token,
        connection.api_key,
        connection.client_secret,
    )
    assert {secret.get_secret_value() for secret in secrets} == {OTHER_SECRET}
