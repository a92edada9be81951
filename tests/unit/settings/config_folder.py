"""A folder of configuration files for a test: sound to begin with, then changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app.settings import Configuration, ConfigurationError, Fault, load_configuration

GOOD_SECRET = "kX9-2vQ7_rT4mZ8wB1nC6"

SETTINGS: dict[str, Any] = {
    "server": {"public_url": "https://app.example.com", "trusted_proxies": ["10.0.0.0/8"]},
    "oidc": {
        "issuer": "https://idp.example.com",
        "client_id": "bff",
        "client_auth": "client_secret_basic",
        "client_secret": GOOD_SECRET,
    },
}
SERVICE: dict[str, Any] = {"base_url": "http://crud:8080", "token": {"mode": "user"}}
ROUTE: dict[str, Any] = {
    "path": "/api/forms/*",
    "target_service": "crud",
    "upstream_path": "/forms/{path}",
    "auth": "session",
    "authz": "none",
}


@dataclass(slots=True)
class ConfigFolder:
    """`settings` and `routes` are written just before the files are loaded; `texts` replace whole files."""

    path: Path
    settings: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SETTINGS))
    routes: dict[str, Any] = field(
        default_factory=lambda: {"services": {"crud": copy.deepcopy(SERVICE)}, "routes": [dict(ROUTE)]}
    )
    pdp: dict[str, Any] | None = None
    idps: dict[str, Any] | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def change(self, key: str, value: object) -> None:
        """Set a dotted key of settings.yaml; None takes it away."""
        change(self.settings, key, value)

    def change_route(self, **keys: object) -> None:
        """Change the one route; None takes a key away."""
        for key, value in keys.items():
            change(self.routes["routes"][0], key, value)

    def change_service(self, key: str, value: object) -> None:
        change(self.routes["services"]["crud"], key, value)

    def add_route(self, **keys: object) -> None:
        self.routes["routes"].append({**ROUTE, **keys})

    def write(self) -> Path:
        trees = {"settings": self.settings, "routes": self.routes, "pdp": self.pdp, "idps": self.idps}
        texts = {f"{name}.yaml": yaml.safe_dump(tree) for name, tree in trees.items() if tree is not None} | self.texts
        for name, text in texts.items():
            (self.path / name).write_text(text, encoding="utf-8")
        return self.path

    def load(self, environ: Mapping[str, str] | None = None) -> Configuration:
        return load_configuration(self.write(), environ or {})

    def find_faults(self, environ: Mapping[str, str] | None = None) -> tuple[Fault, ...]:
        """All faults; none when the configuration is sound."""
        try:
            self.load(environ)
        except ConfigurationError as error:
            return error.faults
        return ()

    def find_fault(self, environ: Mapping[str, str] | None = None) -> Fault:
        """The only fault there is."""
        faults = self.find_faults(environ)
        assert len(faults) == 1, [str(fault) for fault in faults]
        return faults[0]


def change(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    if value is None:
        tree.pop(name, None)
    else:
        tree[name] = value
