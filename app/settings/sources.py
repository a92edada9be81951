"""Finds and reads the files: what each says, and where it says it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from app.settings.interpolation import UnfilledVariableError
from app.settings.schema import IdpsFile, PdpFile, RoutesFile, Settings, StrictModel
from app.settings.yaml_document import KeyPath, YamlDocument, YamlSyntaxError, parse_yaml_document

PROJECT_ROOT = Path(__file__).parents[2]
DEFAULTS_FILE = PROJECT_ROOT / "config" / "defaults.yaml"
DEFAULT_CONFIG_DIR = PROJECT_ROOT / "ServiceConfigs" / "BFF" / "config"

SETTINGS, ROUTES, PDP, IDPS = "settings.yaml", "routes.yaml", "pdp.yaml", "idps.yaml"
SCHEMAS: Mapping[str, type[StrictModel]] = {SETTINGS: Settings, ROUTES: RoutesFile, PDP: PdpFile, IDPS: IdpsFile}
REQUIRED_FILES = frozenset({SETTINGS, ROUTES})
"""The other two may be left out where nothing asks for them: a missing file is a file of defaults."""


@dataclass(slots=True)
class Source:
    """One of the four files: its values, layer by layer, and where each of them stands."""

    name: str
    model: type[StrictModel]
    tree: object = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    variables: dict[KeyPath, str] = field(default_factory=dict)
    """Keys that an environment variable set, with its name."""
    unfilled: dict[KeyPath, UnfilledVariableError] = field(default_factory=dict)
    """Keys whose `${VAR}` could not be filled; no fault where a later layer says the key again."""

    def locate(self, path: KeyPath) -> tuple[str, int | None]:
        """Where the value at `path`, or the nearest section around it, comes from: variable, or file and line."""
        for length in range(len(path), 0, -1):
            part = path[:length]
            if part in self.variables:
                return self.variables[part], None
            if part in self.lines:
                return self.name, self.lines[part]
        return self.name, None

    def is_given(self, path: KeyPath) -> bool:
        """Whether the deployer said it, as opposed to a default."""
        return path in self.variables or path in self.lines

    def find_origin(self, path: KeyPath) -> str:
        """Where the deployer said it, as one word; empty: a default."""
        if not self.is_given(path):
            return ""
        place, line = self.locate(path)
        return place if line is None else f"{place}:{line}"


class UnusableFileError(Exception):
    """A file that says nothing that could be checked."""

    def __init__(self, line: int | None, found: str, wanted: str) -> None:
        super().__init__(wanted)
        self.line = line
        self.found = found
        self.wanted = wanted


def read_document(path: Path) -> YamlDocument:
    """Raises UnusableFileError: not there, not readable, not YAML, or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UnusableFileError(None, "no such file", f"the file {path}") from error
    except UnicodeDecodeError as error:
        raise UnusableFileError(None, "bytes that are not UTF-8", "text in UTF-8") from error
    except OSError as error:
        raise UnusableFileError(None, "a file that cannot be read", f"read access to {path}") from error
    try:
        document = parse_yaml_document(text)
    except YamlSyntaxError as error:
        raise UnusableFileError(error.line, error.found, error.problem) from error
    if document.value is not None and not isinstance(document.value, dict):
        raise UnusableFileError(1, "something else", "keys and values at the top of the file")
    return document


@lru_cache(maxsize=1)
def read_shipped_defaults(path: Path) -> Mapping[str, object]:
    """The defaults, read once a process: they are part of the product. Not to be changed by who gets them."""
    value = read_document(path).value
    return MappingProxyType(value) if isinstance(value, dict) else {}


def find_stray_files(config_dir: Path) -> dict[str, str]:
    """YAML files beside ours that nothing reads, with what is wanted: a misspelt name must not be ignored."""
    strays = {}
    for path in sorted(config_dir.iterdir()):
        if path.suffix.lower() in (".yaml", ".yml") and path.name not in SCHEMAS:
            close = difflib.get_close_matches(path.with_suffix(".yaml").name, SCHEMAS, n=1)
            strays[path.name] = f"the name {close[0]}" if close else f"only {', '.join(SCHEMAS)}"
    return strays
