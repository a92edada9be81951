"""Settings: their schema, the loader (the only reader of YAML and of the environment) and the checks.

    defaults.yaml ─┐
    BFF_CONFIG_DIR ┼─> loader ─> schema ─> checks ─> Configuration   or   ConfigurationError(all faults)
    BFF_… variables┘

Nothing reads settings after start.
"""

from __future__ import annotations

from app.settings.configuration import Configuration
from app.settings.faults import ConfigurationError, Fault
from app.settings.loader import load_configuration
from app.settings.schema import PdpFile as PdpSettings
from app.settings.schema import Settings

__all__ = ["Configuration", "ConfigurationError", "Fault", "PdpSettings", "Settings", "load_configuration"]
