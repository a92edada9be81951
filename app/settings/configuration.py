"""The configuration as the rest of the BFF sees it: checked, complete and never read again after start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.forward_auth import ForwardAuthTable
from app.core.routes import RouteTable, Service
from app.settings.schema import IdpEntry, PdpFile, Settings

_NO_FORWARD_AUTH = ForwardAuthTable()


@dataclass(frozen=True, slots=True)
class Configuration:
    """All four files, defaults and environment applied, in the types that the parts work with."""

    settings: Settings
    services: Mapping[str, Service]
    route_table: RouteTable
    pdp: PdpFile
    idps: tuple[IdpEntry, ...]
    warnings: tuple[str, ...] = ()
    """Sentences for the operator: allowed, but probably not meant."""
    forward_auth: ForwardAuthTable = _NO_FORWARD_AUTH
    """What `/auth/verify` may open."""
