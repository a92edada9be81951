"""Which modules of this installation are compiled (docs/decisions/0006-compiled-modules.md)."""

from __future__ import annotations

import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def count_compiled(root: Path = ROOT) -> tuple[int, int]:
    """Returns how many of the modules that `pyproject.toml` names have an extension module for this Python beside them,
    and how many it names."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    modules: list[str] = project["tool"]["bff"]["compiled"]
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    return sum((root / path).with_suffix(suffix).exists() for path in modules), len(modules)
