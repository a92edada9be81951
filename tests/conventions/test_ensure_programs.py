"""What the operating system has to bring is named in a sentence when it is missing and cannot be installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "ensure-programs"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that is the whole PATH: a user without root's rights, and nothing else."""
    add_program(tmp_path, "id", "echo 1000")
    return tmp_path


def add_program(folder: Path, name: str, does: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{does}\n", encoding="ascii")
    program.chmod(0o755)


def ensure(machine: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(SCRIPT), *programs]
    return subprocess.run(command, env={"PATH": str(machine)}, capture_output=True, text=True, check=False)


def test_everything_missing_is_named_at_once_by_its_package(machine: Path) -> None:
    done = ensure(machine, "node", "npm", "chromium")
    assert done.returncode == 1
    assert "Missing on this machine: nodejs npm chromium." in done.stderr
    assert "apt-get install nodejs npm chromium" in done.stderr


def test_a_compiler_and_the_headers_of_python_are_named_by_their_packages(machine: Path) -> None:
    add_program(machine, "python3", f"echo {machine}")
    done = ensure(machine, "c-compiler", "python-headers")
    assert done.returncode == 1
    assert "Missing on this machine: gcc libc6-dev python3-dev." in done.stderr
    add_program(machine, "gcc", "exit 0")
    (machine / "Python.h").touch()
    assert ensure(machine, "c-compiler", "python-headers").returncode == 0


def test_what_is_there_is_left_alone(machine: Path) -> None:
    add_program(machine, "chromium", "exit 0")
    done = ensure(machine, "chromium")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_node_that_is_too_old_is_named_with_its_version(machine: Path) -> None:
    add_program(machine, "node", 'test "$1" = --version && echo v18.19.0 && exit 0; exit 1')
    done = ensure(machine, "node")
    assert done.returncode == 1
    assert "Node v18.19.0 is too old" in done.stderr


def test_root_installs_what_is_missing_from_debian(machine: Path) -> None:
    add_program(machine, "id", "echo 0")
    install = f"echo '#!/bin/sh' >{machine}/chromium; /bin/chmod 755 {machine}/chromium"
    add_program(machine, "apt-get", f'echo "$@" >> {machine}/asked; case "$1" in install) {install} ;; esac')
    assert ensure(machine, "chromium").returncode == 0
    asked = (machine / "asked").read_text(encoding="ascii")
    assert "install -y -qq --no-install-recommends chromium" in asked


def test_what_is_still_missing_after_that_is_named(machine: Path) -> None:
    add_program(machine, "id", "echo 0")
    add_program(machine, "apt-get", "exit 0")
    done = ensure(machine, "python-headers")
    assert done.returncode == 1
    assert "still missing for this Python or shell: python3-dev. Is PYTHON the one" in done.stderr
