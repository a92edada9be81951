"""`bff doctor`: what it finds, what it says to do next, and that it makes nothing."""

from __future__ import annotations

import json
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import doctor_checks, main
from app.cli.compiled_modules import count_compiled
from app.services.key_ring import build_default_key_file, load_or_create_key_ring
from app.services.state_store.directory import DirectoryStateStore
from tests.support.fake_idp import FakeIdp
from tests.support.processes import free_port
from tests.unit.services.key_store.support import open_key_store
from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

PARTS = [
    "configuration",
    "modules",
    "store",
    "data key",
    "signing keys",
    "provider",
    "provider's keys",
    "client",
    "decision point",
]


class Deployment:
    """A BFF's configuration and folders, and the command beside it."""

    def __init__(self, directory: Path) -> None:
        self.state, self.keys = directory / "state", directory / "keys"
        self.config = ConfigFolder(directory / "config")
        self.config.path.mkdir()
        self.config.change("session.directory", str(self.state))
        self.config.change("keys.directory", str(self.keys))

    def start(self) -> None:
        """What a start makes."""
        DirectoryStateStore(self.state, time.time)
        load_or_create_key_ring(build_default_key_file(self.state))
        open_key_store(self.keys)

    def run(self, *arguments: str) -> Result:
        variables = {"BFF_CONFIG_DIR": str(self.config.write()), "FORCE_COLOR": None}
        return CliRunner(env=variables).invoke(main, ["doctor", *arguments])

    def examine(self) -> tuple[int, dict[str, tuple[str, str, str]]]:
        """Exit status, and outcome, text and next step of each part by its name."""
        result = self.run("--json")
        document = json.loads(result.stdout)
        assert document["ok"] is (result.exit_code == 0)
        findings = document["findings"]
        return result.exit_code, {each["name"]: (each["outcome"], each["told"], each["next_step"]) for each in findings}


@pytest.fixture
def bff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setattr(doctor_checks, "count_compiled", lambda: (62, 62))  # as installed
    return Deployment(tmp_path)


@pytest.fixture
def idp() -> Iterator[FakeIdp]:
    with FakeIdp().serve() as served:
        yield served


def test_a_healthy_deployment_is_told_part_by_part(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    result = bff.run()
    assert (result.exit_code, result.stderr) == (0, "")
    *parts, summary = result.stdout.splitlines()
    assert [line[:16].strip() for line in parts] == PARTS
    assert {line[16:].split()[0] for line in parts} == {"ok"}
    assert summary == "All that the BFF needs is there."
    assert GOOD_SECRET not in result.output


def test_before_the_first_start_nothing_has_failed_and_nothing_is_made(bff: Deployment, idp: FakeIdp) -> None:
    status, found = bff.examine()
    assert status == 0
    assert [found[part][0] for part in ("store", "data key", "signing keys")] == ["note"] * 3
    assert "first start" in found["store"][2]
    assert sorted(path.name for path in bff.state.parent.iterdir()) == ["config"]
    assert "Nothing failed; 3 notes above." in bff.run().stdout


def test_faults_of_the_configuration_end_it(bff: Deployment) -> None:
    bff.config.change("oidc.issuer", "not a URL")
    status, found = bff.examine()
    assert (status, list(found), found["configuration"][0]) == (1, ["configuration"], "failed")
    assert "oidc.issuer" in found["configuration"][1]
    assert "bff config check" in found["configuration"][2]


def test_warnings_of_the_configuration_are_a_note(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    bff.config.change_route(authz=None)
    status, found = bff.examine()
    assert (status, found["configuration"][0]) == (0, "note")
    assert "1 warning" in found["configuration"][1]


@pytest.mark.parametrize(
    ("compiled", "environment", "outcome", "told", "next_step"),
    [
        (62, "production", "ok", "is compiled", ""),
        (61, "production", "failed", "61 of 62 modules are compiled", "make install"),
        (1, "development", "failed", "1 of 62 modules are compiled", "make install"),
        (0, "production", "note", "left to the interpreter", "make install"),
        (0, "development", "ok", "left to the interpreter", ""),
    ],
)
def test_modules_that_are_not_compiled_are_a_note_in_production_and_half_of_them_a_fault(
    monkeypatch: pytest.MonkeyPatch, compiled: int, environment: str, outcome: str, told: str, next_step: str
) -> None:
    monkeypatch.setattr(doctor_checks, "count_compiled", lambda: (compiled, 62))
    configuration: Any = SimpleNamespace(settings=SimpleNamespace(environment=environment))
    found = doctor_checks._tell_modules(configuration)
    assert (found.name, found.outcome) == ("modules", outcome)
    assert told in found.told
    assert next_step in found.next_step
    assert bool(found.next_step) is bool(next_step)


def test_extension_modules_are_counted_that_this_python_would_take(tmp_path: Path) -> None:
    project = '[tool.bff]\ncompiled = ["app/a.py", "app/b.py", "app/c.py"]\n'
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / f"a{sysconfig.get_config_var('EXT_SUFFIX')}").touch()
    (tmp_path / "app" / "b.cpython-27-other-machine.so").touch()
    assert count_compiled(tmp_path) == (1, 3)
    assert count_compiled()[1] > 50


def test_a_provider_that_cannot_be_reached_fails_and_the_rest_is_tried(bff: Deployment) -> None:
    bff.start()
    bff.config.change("environment", "development")
    bff.config.change("oidc.issuer", f"http://127.0.0.1:{free_port()}")
    status, found = bff.examine()
    assert (status, list(found)) == (1, PARTS)
    assert (found["provider"][0], found["provider's keys"][0]) == ("failed", "note")
    assert "oidc.issuer" in found["provider"][2]


def test_the_metadata_of_another_provider_fail(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    idp.metadata["issuer"] = "https://other.example"
    status, found = bff.examine()
    assert (status, found["provider"][0]) == (1, "failed")
    assert "letter by letter" in found["provider"][1]


@pytest.mark.parametrize("jwks", [(500, ""), (200, '{"keys": []}'), (200, "no JSON")])
def test_a_provider_without_keys_fails(bff: Deployment, idp: FakeIdp, jwks: tuple[int, str]) -> None:
    bff.start()
    idp.jwks = jwks
    status, found = bff.examine()
    assert (status, found["provider's keys"][0]) == (1, "failed")


def test_a_store_that_is_open_to_others_fails(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    bff.state.chmod(0o777)
    status, found = bff.examine()
    assert (status, found["store"][0]) == (1, "failed")
    assert "chmod 0700" in found["store"][1]


def test_a_redis_that_is_down_fails_and_what_lies_in_it_is_not_tried(
    bff: Deployment, idp: FakeIdp, tmp_path: Path
) -> None:
    load_or_create_key_ring(tmp_path / "data.keys")
    bff.config.change("session.store", "redis")
    bff.config.change("session.redis_url", f"redis://:{GOOD_SECRET}@127.0.0.1:{free_port()}")
    bff.config.change("session.redis", {"retries": 0, "timeout_seconds": 0.2})
    bff.config.change("tokens.data_key_file", str(tmp_path / "data.keys"))
    bff.config.change("keys.store", "redis")
    status, found = bff.examine()
    assert (status, found["store"][0], found["data key"][0], found["signing keys"][0]) == (1, "failed", "ok", "note")
    assert GOOD_SECRET not in str(found)


def test_a_data_key_file_that_is_damaged_fails(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    build_default_key_file(bff.state).write_text("damaged\n")
    status, found = bff.examine()
    assert (status, found["data key"][0]) == (1, "failed")


def test_signing_keys_that_cannot_be_read_fail(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    for file in bff.keys.iterdir():
        file.write_bytes(b"damaged")
    status, found = bff.examine()
    assert (status, found["signing keys"][0]) == (1, "failed")


def test_a_client_that_is_not_registered_yet_is_a_note(bff: Deployment, idp: FakeIdp) -> None:
    bff.start()
    bff.config.change("oidc.client_id", None)
    bff.config.change("oidc.client_secret", None)
    bff.config.change("oidc.client_auth", "private_key_jwt")
    bff.config.change("oidc.dcr", {"enabled": True})
    status, found = bff.examine()
    assert (status, found["client"][0]) == (0, "note")
    assert "bff client register" in found["client"][2]


def test_a_decision_point_that_is_down_fails(bff: Deployment) -> None:
    bff.start()
    bff.config.change_route(authz="pdp", methods=["GET"], authz_map={"GET": {"resource": "form", "action": "read"}})
    bff.config.pdp = {
        "connection": {"base_url": f"http://127.0.0.1:{free_port()}", "timeout": 1},
        "retry": {"max_retries": 0},
    }
    with FakeIdp().serve():
        status, found = bff.examine()
    assert (status, found["decision point"][0]) == (1, "failed")
    assert "bff pdp check" in found["decision point"][2]
