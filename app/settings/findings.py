"""Collects what is wrong until everything has been looked at, and says each thing once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from app.settings.faults import Fault
from app.settings.schema.keys import is_secret_path, tell_key
from app.settings.sources import Source
from app.settings.yaml_document import KeyPath

_MAX_SHOWN = 80
_CREDENTIALS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault before it is known where it stands."""

    file: str
    path: KeyPath
    found: str
    wanted: str


def is_empty(value: object) -> bool:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text is None or text == ""


def tell_value(value: object) -> str:
    """A value for people: short, on one line, without the credentials that a URL may hold."""
    if is_empty(value):
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    text = _CREDENTIALS.sub("//***@", str(value))
    text = repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")
    return text if isinstance(value, str) else text.strip("'")


@dataclass(slots=True)
class Findings:
    """Faults so far. A key that is known to be faulty draws no further complaints, which would only follow from it."""

    sources: Mapping[str, Source]
    faults: list[Fault] = field(default_factory=list)
    _faulty: set[tuple[str, KeyPath]] = field(default_factory=set)

    def add(self, finding: Finding) -> None:
        if self.has(finding.file, finding.path):
            return
        self.mark(finding.file, finding.path)
        place, line = self.sources[finding.file].locate(finding.path)
        self.faults.append(Fault(place, line, tell_key(finding.path), finding.found, finding.wanted))

    def add_all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.add(finding)

    def mark(self, file: str, path: KeyPath) -> None:
        """Draw no complaints about this key: something else that was reported is the cause."""
        self._faulty.add((file, path))

    def has(self, file: str, path: KeyPath) -> bool:
        """Whether this key, or a section around it, is known to be faulty."""
        return any((file, path[:length]) in self._faulty for length in range(len(path) + 1))

    def tell(self, file: str, path: KeyPath, value: object) -> str:
        """What stands at a key, or that it is a secret, or that it is only the default."""
        source = self.sources[file]
        if is_empty(value):
            return "nothing"
        if is_secret_path(source.model, path):
            return "a secret (not shown)"
        return tell_value(value) + ("" if source.is_given(path) else " (the default)")

    def sorted_faults(self) -> tuple[Fault, ...]:
        """In the order of the files, then of their lines."""
        order = {name: index for index, name in enumerate(self.sources)}
        return tuple(sorted(self.faults, key=lambda fault: (order.get(fault.file, -1), fault.line or 0, fault.key)))
