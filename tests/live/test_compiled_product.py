"""What `make install` makes is compiled, and so is what the tests over sockets run on (`make test`)."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.product import PROJECT

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

INSTALLED = PROJECT / "build" / "installed"
TELL_FILES = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def installed() -> Path:
    """Made anew only when the product has changed since."""
    made = subprocess.run(
        ["make", "installed"],
        cwd=PROJECT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return INSTALLED


def test_every_module_that_is_to_be_compiled_is(installed: Path, tmp_path: Path) -> None:
    project = tomllib.loads((installed / "pyproject.toml").read_text(encoding="utf-8"))
    modules = {path.removesuffix(".py").replace("/", "."): path for path in project["tool"]["bff"]["compiled"]}
    python = str(installed / ".venv" / "bin" / "python")
    told = subprocess.run(
        [python, "-c", TELL_FILES, *modules], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    files = json.loads(told.splitlines()[-1])
    assert {Path(file).suffix for file in files.values()} == {".so"}
    assert all(Path(file).is_relative_to(installed / "app") for file in files.values())
