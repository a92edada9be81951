"""Fills `${VAR}` and `${VAR:-default}` in the values of a file from the environment.

The file is parsed first and each text is filled afterwards, so nothing in the environment can change a file's shape.
`$${` writes a literal `${`. As in a shell, the default also stands in for a variable that is set and empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from app.settings.schema.values import UntypedText
from app.settings.yaml_document import KeyPath

_PLACEHOLDER = re.compile(
    r"\$(?P<escaped>\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<broken>\$\{)"
)


class UnfilledVariableError(Exception):
    """A `${…}` that cannot be filled; `found` and `wanted` never repeat the text around it."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(wanted)
        self.found = found
        self.wanted = wanted


def fill_text(text: str, environ: Mapping[str, str]) -> str:
    """Fill every placeholder in one text; text that has none comes back as it is, with its type."""

    def fill(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["broken"]:
            raise UnfilledVariableError("an unfinished ${", "${VAR}, ${VAR:-default}, or $${ for a literal ${")
        name, default = match["name"], match["default"]
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            wanted = f"{name} in the environment, or a default: ${{{name}:-…}}"
            raise UnfilledVariableError(f"${{{name}}}, which is not set", wanted)
        return value

    filled, count = _PLACEHOLDER.subn(fill, text)
    return UntypedText(filled) if count else text


def fill_tree(
    value: object, environ: Mapping[str, str], path: KeyPath, problems: list[tuple[KeyPath, UnfilledVariableError]]
) -> object:
    """A copy of a tree with every text filled; what cannot be filled is noted in `problems` and left out as None."""
    if isinstance(value, str):
        try:
            return fill_text(value, environ)
        except UnfilledVariableError as error:
            problems.append((path, error))
            return None
    if isinstance(value, list):
        return [fill_tree(item, environ, (*path, index), problems) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: fill_tree(item, environ, (*path, key), problems) for key, item in value.items()}
    return value


def find_variables(value: object) -> Iterator[tuple[str, str | None]]:
    """The variables a tree reads, each with its default, if it has one."""
    if isinstance(value, str):
        for match in _PLACEHOLDER.finditer(value):
            if match["name"]:
                yield match["name"], match["default"]
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from find_variables(item)
