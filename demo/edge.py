"""Traefik as deploy/traefik configures it, on this machine: hosts, addresses and ports are replaced, nothing else is.

`write_edge_configuration` reads the shipped files, so whatever is tried behind this edge is tried with what we ship.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).parents[1] / "deploy" / "traefik"
SHIPPED_APP_HOST = "app.example.com"
SHIPPED_TOOLS_HOST = "tools.example.com"


@dataclass(frozen=True, slots=True)
class Certificate:
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Edge:
    """What is particular to one machine. Ports are on loopback; URLs have no path."""

    port: int
    internal_port: int
    bff_url: str
    spa_url: str
    tools_url: str
    app_host: str = "localhost"
    tools_host: str = "tools.localhost"
    more_bff_urls: Sequence[str] = ()
    """Further BFFs that take turns with the first."""
    more_spa_urls: Sequence[str] = ()
    more_bff_paths: Sequence[str] = ()
    """Prefixes of routes that lie outside /api, each with its slash at the end."""
    calls_per_second: int | None = None
    """For each client address; None leaves the shipped limit."""
    certificate: Certificate | None = None
    """With one, browsers come over TLS and `redirect_port` sends them there; without one, over plain HTTP."""
    redirect_port: int | None = None


def find_traefik() -> Path | None:
    """The program that `make setup` installs beside Python, or one on the PATH; None when there is none."""
    beside = Path(sys.executable).with_name("traefik")
    found = str(beside) if beside.exists() else shutil.which("traefik")
    return Path(found) if found else None


def build_edge_command(traefik: Path, static_file: Path) -> list[str]:
    return [str(traefik), f"--configFile={static_file}"]


def write_edge_configuration(directory: Path, edge: Edge) -> Path:
    """Writes the shipped files as `edge` needs them below `directory`; returns the static one."""
    dynamic_directory = directory / "dynamic"
    dynamic_directory.mkdir(parents=True, exist_ok=True)
    dynamic = build_dynamic(_load("dynamic/bff.yaml"), edge)
    (dynamic_directory / "bff.yaml").write_text(yaml.safe_dump(dynamic), encoding="utf-8")
    static = build_static(_load("traefik.yaml"), edge)
    static["providers"]["file"]["directory"] = str(dynamic_directory)
    static_file = directory / "traefik.yaml"
    static_file.write_text(yaml.safe_dump(static), encoding="utf-8")
    return static_file


def build_static(shipped: dict[str, Any], edge: Edge) -> dict[str, Any]:
    entry_points = shipped["entryPoints"]
    entry_points["websecure"]["address"] = f"127.0.0.1:{edge.port}"
    entry_points["internal"]["address"] = f"127.0.0.1:{edge.internal_port}"
    if edge.certificate is None:
        del entry_points["websecure"]["http"]["tls"]
    if edge.certificate is None or edge.redirect_port is None:
        del entry_points["web"]
    else:
        entry_points["web"]["address"] = f"127.0.0.1:{edge.redirect_port}"
        entry_points["web"]["http"]["redirections"]["entryPoint"]["to"] = f":{edge.port}"
    return shipped


def build_dynamic(shipped: dict[str, Any], edge: Edge) -> dict[str, Any]:
    http = shipped["http"]
    for router in http["routers"].values():
        renamed = router["rule"].replace(SHIPPED_APP_HOST, edge.app_host).replace(SHIPPED_TOOLS_HOST, edge.tools_host)
        router["rule"] = renamed
    bff = http["routers"]["bff"]
    for prefix in edge.more_bff_paths:
        bff["rule"] = bff["rule"].replace("PathPrefix(`/api/`)", f"PathPrefix(`/api/`) || PathPrefix(`{prefix}`)")
    for name, url in (("bff", edge.bff_url), ("spa", edge.spa_url), ("tools", edge.tools_url)):
        http["services"][name]["loadBalancer"]["servers"] = [{"url": url}]
    for name, urls in (("bff", edge.more_bff_urls), ("spa", edge.more_spa_urls)):
        http["services"][name]["loadBalancer"]["servers"] += [{"url": url} for url in urls]
    if edge.more_spa_urls:
        # They are the BFFs here, and one that has ended has to be left alone for pages too.
        http["services"]["spa"]["loadBalancer"]["healthCheck"] = http["services"]["bff"]["loadBalancer"]["healthCheck"]
    http["middlewares"]["logged-in"]["forwardAuth"]["address"] = f"{edge.bff_url}/auth/verify"
    if edge.calls_per_second is not None:
        limit = {"average": edge.calls_per_second, "burst": edge.calls_per_second}
        http["middlewares"]["calls-per-address"]["rateLimit"].update(limit)
    if edge.certificate is None:
        del shipped["tls"]
    else:
        files = {"certFile": str(edge.certificate.cert_file), "keyFile": str(edge.certificate.key_file)}
        shipped["tls"]["certificates"] = [files]
    return dict(shipped)


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((SHIPPED / name).read_text(encoding="utf-8"))
    return loaded
