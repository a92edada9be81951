"""The production installation, made by the Dockerfile's own steps into an empty folder, serves without root."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import start_child
from tests.support.bff import build_settings, write_configuration
from tests.support.processes import free_port, is_answering, minimal_environment
from tests.support.product import PROJECT, run_make
from tests.support.real_op import BASIC_CLIENT

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

NOBODY = 65534


def make_install(prefix: Path) -> None:
    python = str(Path(sys.base_prefix) / "bin" / "python3")
    # `make installed` has compiled, of which the tests below are independent.
    made = run_make("--jobs=3", "install", "COMPILED=no", f"PREFIX={prefix}", f"PYTHON={python}")
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="module")
def prefix() -> Iterator[Path]:
    """Where the product is installed: a folder that another user can read, which pytest's own are not."""
    directory = Path(tempfile.mkdtemp(prefix="bff-install-"))
    directory.chmod(0o755)
    make_install(directory / "srv")
    yield directory / "srv"
    shutil.rmtree(directory)


def test_a_second_install_updates_the_product_and_keeps_the_configuration(prefix: Path) -> None:
    kept, updated = prefix / "ServiceConfigs" / "BFF" / "config" / "settings.yaml", prefix / "app" / "__init__.py"
    as_shipped = kept.read_text(encoding="utf-8")
    kept.write_text(f"{as_shipped}# ours\n", encoding="utf-8")
    updated.write_text("# an older version\n", encoding="utf-8")
    older = prefix / "app" / "gateway" / "pipeline.cpython-311-x86_64-linux-gnu.so"
    older.write_bytes(b"compiled from an older version")
    make_install(prefix)
    assert not older.exists(), "Python would take it, and not what was installed now"
    assert kept.read_text(encoding="utf-8") == f"{as_shipped}# ours\n"
    assert not (prefix / "ServiceConfigs" / "ServiceConfigs").exists()
    assert updated.read_bytes() == (PROJECT / "app" / "__init__.py").read_bytes()


def make_python(path: Path, does: str) -> str:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{does}\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


def test_an_installation_of_another_python_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    make_python(tmp_path / "srv" / ".venv" / "bin" / "python", "echo .cpython-399-elsewhere.so")
    before = sorted(tmp_path.rglob("*"))
    done = run_make("install", "COMPILED=no", f"PREFIX={tmp_path / 'srv'}", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert f"{tmp_path / 'srv'}/.venv was made with another Python. Name that one" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("compiled", ["yes", "no"])
def test_a_python_that_is_too_old_is_named_before_anything_is_made(tmp_path: Path, compiled: str) -> None:
    python = make_python(tmp_path / "bin" / "python3.10", "exit 1")
    done = run_make("install", f"COMPILED={compiled}", f"PREFIX={tmp_path / 'srv'}", f"PYTHON={python}")
    assert done.returncode != 0
    assert f"{python} is missing or older than 3.11" in done.stderr
    assert not (tmp_path / "srv").exists()


def test_the_installed_product_serves_as_a_user_without_rights(prefix: Path, tmp_path: Path) -> None:
    assert not list(prefix.glob("tests")), "only the product is installed"
    assert not (prefix / ".venv" / "bin" / "pytest").exists(), "without the packages of its development"

    port, internal_port = free_port(), free_port()
    settings = build_settings(
        port, internal_port, issuer="http://127.0.0.1:9", client=BASIC_CLIENT, directory=prefix / "var"
    )
    # A checkout may lie where nobody else can read.
    page = shutil.copytree(settings["frontends"][0]["directory"], prefix / "page")
    settings["frontends"][0]["directory"] = str(page)
    write_configuration(prefix / "configuration", settings, {"services": {}, "routes": []})
    run_as_nobody = os.geteuid() == 0
    if run_as_nobody:
        os.chown(prefix / "var", NOBODY, NOBODY)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    gunicorn = [str(prefix / ".venv" / "bin" / "gunicorn"), "-c", "gunicorn.conf.py", "wsgi:app"]
    server = start_child(
        "installed BFF",
        [*as_nobody, *gunicorn] if run_as_nobody else gunicorn,
        log_path=tmp_path / "bff.log",
        environment=minimal_environment(
            BFF_BIND=f"127.0.0.1:{port}", BFF_CONFIG_DIR=str(prefix / "configuration"), WEB_CONCURRENCY="1"
        ),
        directory=prefix,
    )
    try:
        server.wait_until(
            lambda: is_answering(f"http://127.0.0.1:{port}/health/ready", status=200), timeout_seconds=60, what="ready"
        )
        assert is_answering(f"http://127.0.0.1:{port}/.well-known/jwks.json", status=200)
        written = {path.relative_to(prefix).parts[0] for path in prefix.rglob("*") if path.stat().st_uid == NOBODY}
        assert not run_as_nobody or written == {"var"}, "the server writes below var and nowhere else"
    finally:
        server.stop()
