"""The image is made by the same make targets as everything else, and does not run as root."""

from __future__ import annotations

import json
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
INSTRUCTIONS = re.sub(r"\\\n\s*", " ", (PROJECT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def arguments_of(keyword: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in INSTRUCTIONS if line.startswith(f"{keyword} ")]


def make_targets_in(text: str) -> set[str]:
    return {target for targets in re.findall(r"\bmake ((?:[a-z][a-z-]* )+)", text) for target in targets.split()}


def has_make_target(name: str) -> bool:
    return re.search(rf"^{re.escape(name)}:", MAKEFILE, re.MULTILINE) is not None


def test_every_make_target_of_a_build_step_exists() -> None:
    used = {target for run in arguments_of("RUN") for target in make_targets_in(run) if "apt-get" not in run}
    assert used == {"install-compiler", "install-dependencies", "install-application"}
    assert all(has_make_target(target) for target in used)


def test_install_is_the_build_steps_and_nothing_else() -> None:
    install = re.search(r"^install:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    assert install is not None
    steps = [line.strip() for line in install.group(1).splitlines() if "echo" not in line]
    assert steps == [f"@$(MAKE) install-{step}" for step in ("compiler", "dependencies", "application")]


def test_the_image_does_not_run_as_root() -> None:
    last_stage = INSTRUCTIONS[max(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
    users = [line.split()[1] for line in last_stage if line.startswith("USER ")]
    assert users == ["10001:10001"]


def test_the_image_starts_as_production_does() -> None:
    commands = [json.loads(command) for command in arguments_of("CMD")]
    assert commands == [["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]]
    assert arguments_of("EXPOSE") == ["8000"]
    assert "/health/live" in arguments_of("HEALTHCHECK")[0]


def test_everything_that_is_copied_is_sent_to_the_builder_and_exists() -> None:
    allowed = {
        line.removeprefix("!") for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {source for copy in arguments_of("COPY") if not copy.startswith("--from") for source in copy.split()[:-1]}
    assert copied == allowed
    assert [source for source in sorted(copied) if not (PROJECT / source).exists()] == []
