"""What `make install` makes is compiled, and so is what the tests over sockets run on (`make test`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.product import PROJECT, run_make

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

INSTALLED = PROJECT / "build" / "installed"
TELL_FILES = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def installed() -> Path:
    """Made anew only when the product has changed since."""
    made = run_make("installed")
    assert made.returncode == 0, made.stdout + made.stderr
    return INSTALLED


def test_what_cannot_be_compiled_changes_nothing_of_an_installation(installed: Path, tmp_path: Path) -> None:
    module = tmp_path / "app" / "faulty.py"
    module.parent.mkdir()
    module.write_text('number: int = "none"\n', encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.bff]\ncompiled = ["app/faulty.py"]\n', encoding="utf-8")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    before = sorted(tmp_path.rglob("*"))
    compiler = str(installed.parent / "compiler" / "bin" / "python")
    done = subprocess.run(
        [compiler, "tools/compile.py", str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "app/faulty.py:1: error: Incompatible types in assignment" in done.stdout + done.stderr
    assert sorted(tmp_path.rglob("*")) == before


PUT_IN_PLACE = """
import sys
from pathlib import Path
from compile import put_in_place
put_in_place(Path(sys.argv[1]), [Path("app/a.so"), Path("app/missing.so")])
"""


def test_a_copy_that_breaks_off_leaves_all_to_the_interpreter(installed: Path, tmp_path: Path) -> None:
    made, prefix = tmp_path / "made", tmp_path / "prefix"
    for folder, content in ((made, b"new"), (prefix, b"old")):
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "a.so").write_bytes(content)
    done = subprocess.run(
        [str(installed.parent / "compiler" / "bin" / "python"), "-c", PUT_IN_PLACE, str(prefix)],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "tools")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert list((prefix / "app").iterdir()) == []


def test_another_python_than_the_installations_is_refused(installed: Path, tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho .cpython-399-elsewhere.so\n", encoding="ascii")
    python.chmod(0o755)
    compiler = str(installed.parent / "compiler" / "bin" / "python")
    done = subprocess.run(
        [compiler, "tools/compile.py", str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "takes modules *.cpython-399-elsewhere.so" in done.stderr
    assert "use the same Python for both" in done.stderr


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
