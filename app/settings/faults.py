"""What is wrong with the configuration, told in one go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong: where it stands, what was found there and what is wanted instead.

    `file` names a YAML file or, for an override, the environment variable; secrets never appear in `found`.
    """

    file: str
    line: int | None
    key: str
    found: str
    wanted: str

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        where = f"{self.place}: {self.key}" if self.key else self.place
        return f"{where}: found {self.found}; wanted {self.wanted}"


class ConfigurationError(Exception):
    """The BFF cannot start with this configuration; `faults` holds all that is wrong with it."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        count = len(self.faults)
        heading = f"The configuration has {count} {'fault' if count == 1 else 'faults'}:"
        return "\n".join([heading, *(f"  {fault}" for fault in self.faults)])
