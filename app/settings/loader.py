"""Loads the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.settings.configuration import Configuration


def load_configuration(config_dir: Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read, merge and check all settings; raises ConfigurationError with every fault."""
    raise NotImplementedError
