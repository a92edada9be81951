"""How Cerbos is started, the demo's policy decision point (OpenID AuthZEN 1.0). The tests start it in the same way."""

from __future__ import annotations

import shutil
from pathlib import Path

PDP_DIRECTORY = Path(__file__).parent / "pdp"
POLICIES = PDP_DIRECTORY / "policies"
_PACKAGED = PDP_DIRECTORY / "node_modules" / "@cerbos" / "cerbos-linux-x64" / "cerbos-linux-x64"


def find_cerbos() -> Path | None:
    """The program that npm installed, or on a machine that the package is not for, the one on the PATH."""
    if _PACKAGED.is_file():
        return _PACKAGED
    found = shutil.which("cerbos")
    return Path(found) if found else None


def build_cerbos_command(cerbos: Path) -> list[str]:
    return [str(cerbos), "server", "--config", str(PDP_DIRECTORY / "cerbos.yaml")]


def build_cerbos_environment(port: int, socket: Path, policies: Path = POLICIES) -> dict[str, str]:
    """What `cerbos.yaml` reads. `socket` is for the inner half of Cerbos; a path for it has at most 107 bytes."""
    return {"DEMO_PDP_PORT": str(port), "DEMO_PDP_SOCKET": str(socket), "DEMO_PDP_POLICIES": str(policies)}
