"""Compiles the modules that every proxied call runs through, in an installation of the product.

    compile.py PREFIX

What is compiled stands in `pyproject.toml` (`tool.bff.compiled`); why, in docs/decisions/0006-compiled-modules.md. An
extension module lies beside the module that it is made from, and Python takes it instead. Without them the product does
the same, and slower. Nothing of an installation is changed until all of it is compiled.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

LIBRARY = "app.compiled"
"""mypyc puts the code of all modules into one library, `app/compiled__mypyc.*.so`."""


def main() -> None:
    prefix = Path(sys.argv[1]).resolve()
    project = prefix / "pyproject.toml"
    modules = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["bff"]["compiled"]
    with tempfile.TemporaryDirectory(prefix="bff-compile-") as folder:
        shutil.copytree(prefix / "app", Path(folder, "app"), ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        os.chdir(folder)
        compile_here(prefix, project, modules)
        for made in Path("app").rglob("*.so"):
            beside = prefix / f"{made}.new"
            shutil.copyfile(made, beside)
            beside.replace(prefix / made)  # a running server keeps the file that it has
    print(f"Compiled {len(modules)} modules of {prefix}.")


def compile_here(prefix: Path, project: Path, modules: list[str]) -> None:
    settings = [
        *("--config-file", str(project), "--python-executable", str(prefix / ".venv" / "bin" / "python")),
        # Packages with types that are only here where the product is developed, and checked.
        *("--disable-error-code", "import-untyped", "--no-warn-unused-ignores", "--no-warn-return-any"),
    ]
    extensions = mypycify([*settings, *modules], opt_level="3", debug_level="0", group_name=LIBRARY)
    setup(name="bff-compiled", packages=[], ext_modules=extensions, script_args=["--quiet", "build_ext", "--inplace"])


if __name__ == "__main__":
    main()
