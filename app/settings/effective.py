"""Writes what is in effect as YAML, for `bff config show`: every key, where it comes from, secrets masked."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from pydantic import SecretStr

from app.settings.configuration import Configuration
from app.settings.sources import PDP, SETTINGS, Source
from app.settings.yaml_document import KeyPath

MASK = "**********"


def render_file(configuration: Configuration, source: Source) -> str:
    """One file as YAML. The text is a valid file again, but for the masked secrets."""
    lines = _render(_dump(configuration, source), source, (), 0)
    return "\n".join([f"# {source.name}", *lines]) + "\n"


def _dump(configuration: Configuration, source: Source) -> dict[str, object]:
    """Settings as the parts see them; routes and idps as they were read, with the defaults of their entries."""
    if source.name == SETTINGS:
        return configuration.settings.model_dump()
    if source.name == PDP:
        return configuration.pdp.model_dump()
    return source.model.model_validate(source.tree).model_dump()


def _render(section: dict[str, object], source: Source, path: KeyPath, depth: int) -> Iterator[str]:
    for name, value in section.items():
        yield from _render_value(f"{'  ' * depth}{_to_yaml(name)}:", value, source, (*path, name), depth)


def _render_value(start: str, value: object, source: Source, path: KeyPath, depth: int) -> Iterator[str]:
    """A key with its value: sections and lists of sections below it, everything else behind it."""
    if isinstance(value, dict) and value:
        yield start
        yield from _render(value, source, path, depth + 1)
    elif isinstance(value, tuple) and any(isinstance(item, dict) for item in value):
        yield start
        for index, item in enumerate(value):
            first, *rest = _render(item, source, (*path, index), depth + 2)
            yield f"{'  ' * (depth + 1)}- {first.lstrip()}"
            yield from rest
    else:
        origin = source.find_origin(path)
        yield f"{start} {_to_yaml(value)}{f'  # {origin}' if origin else ''}"


def _to_yaml(value: object) -> str:
    if isinstance(value, SecretStr):
        value = MASK if value.get_secret_value() else ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
