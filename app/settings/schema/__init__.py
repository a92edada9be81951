"""The schema of the four files a deployer owns; attribute names are exactly their YAML keys."""

from __future__ import annotations

from app.settings.schema.idps_file import IdpEntry, IdpsFile
from app.settings.schema.model import StrictModel
from app.settings.schema.pdp_file import PdpFile
from app.settings.schema.routes_file import RouteEntry, RoutesFile, ServiceEntry
from app.settings.schema.settings_file import Settings

__all__ = [
    "IdpEntry",
    "IdpsFile",
    "PdpFile",
    "RouteEntry",
    "RoutesFile",
    "ServiceEntry",
    "Settings",
    "StrictModel",
]
