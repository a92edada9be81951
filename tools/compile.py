"""Compiles the modules that every proxied call runs through, in an installation of the product.

    compile.py PREFIX

What is compiled stands in `pyproject.toml` (`tool.bff.compiled`); why, in docs/decisions/0006-compiled-modules.md. An
extension module lies beside the module that it is made from, and Python takes it instead. Without them the product does
the same, and slower. Nothing of an installation is changed until all of it is compiled; whatever fails leaves it to the
interpreter.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
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
    check_python(prefix)
    modules = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["bff"]["compiled"]
    with tempfile.TemporaryDirectory(prefix="bff-compile-") as folder:
        shutil.copytree(prefix / "app", Path(folder, "app"), ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        os.chdir(folder)
        compile_here(prefix, project, modules)
        put_in_place(prefix, sorted(Path("app").rglob("*.so")))
    print(f"Compiled {len(modules)} modules of {prefix}.")


def check_python(prefix: Path) -> None:
    """Raises `SystemExit`: another Python would not take what this one makes, and say nothing."""
    tell = 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'
    python = prefix / ".venv" / "bin" / "python"
    told = subprocess.run([python, "-c", tell], capture_output=True, text=True, check=True).stdout.strip()
    own = sysconfig.get_config_var("EXT_SUFFIX")
    if told != own:
        raise SystemExit(f"{python} takes modules *{told}, this compiler makes *{own}: use the same Python for both.")


def put_in_place(prefix: Path, made: list[Path]) -> None:
    """All of them or none: half of them do not go together with the interpreter's half."""
    try:
        for path in made:
            shutil.copyfile(path, prefix / f"{path}.new")
        for path in made:
            (prefix / f"{path}.new").replace(prefix / path)  # a running server keeps the file that it has
    except BaseException:
        for path in made:
            (prefix / f"{path}.new").unlink(missing_ok=True)
            (prefix / path).unlink(missing_ok=True)
        raise


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
