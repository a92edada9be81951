"""What the checks look at: the four files as models, and what the deployer said himself."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings.findings import Finding, Findings
from app.settings.schema import IdpsFile, PdpFile, RoutesFile, Settings
from app.settings.sources import IDPS, PDP, ROUTES, SETTINGS
from app.settings.yaml_document import KeyPath


@dataclass(frozen=True, slots=True)
class Draft:
    """The configuration before it is known to be sound. Faulty values are already replaced by harmless ones."""

    settings: Settings
    routes: RoutesFile
    pdp: PdpFile
    idps: IdpsFile
    findings: Findings

    def is_given(self, file: str, *path: str | int) -> bool:
        return self.findings.sources[file].is_given(path)

    def in_settings(self, *path: str | int, wanted: str) -> Finding:
        return self._build(SETTINGS, path, wanted, self.settings)

    def in_routes(self, *path: str | int, wanted: str) -> Finding:
        return self._build(ROUTES, path, wanted, self.routes)

    def in_pdp(self, *path: str | int, wanted: str) -> Finding:
        return self._build(PDP, path, wanted, self.pdp)

    def in_idps(self, *path: str | int, wanted: str) -> Finding:
        return self._build(IDPS, path, wanted, self.idps)

    def _build(self, file: str, path: KeyPath, wanted: str, model: object) -> Finding:
        return Finding(file, path, self.findings.tell(file, path, value_at(model, path)), wanted)


def value_at(model: object, path: KeyPath) -> object:
    """The value at a key path of a model."""
    value = model
    for step in path:
        value = value[step] if isinstance(value, (dict, tuple)) else getattr(value, str(step))  # type: ignore[index]
    return value
