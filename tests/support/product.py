"""The product that is tested and measured over sockets.

`BFF_PRODUCT` names an installation, as the make targets do: what `make install` has made and compiled, and so what runs
in production. Without it, it is this checkout, whose modules are left to the interpreter: nothing has to be compiled
after a change.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PRODUCT = Path(os.environ.get("BFF_PRODUCT") or PROJECT)
PYTHON = sys.executable if PRODUCT == PROJECT else str(PRODUCT / ".venv" / "bin" / "python")
GUNICORN = (PYTHON, "-m", "gunicorn", "-c", "gunicorn.conf.py")
"""To be started in `PRODUCT`."""
BFF_COMMAND = str(Path(PYTHON).with_name("bff"))


def run_make(*words: str) -> subprocess.CompletedProcess[str]:
    """`make` in this checkout, as somebody calls it who is not in the middle of another one."""
    return subprocess.run(
        ["make", *words],
        cwd=PROJECT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
