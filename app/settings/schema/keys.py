"""Lists the keys a schema has: for environment names, for hints, for masking, and for the reference in the docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings.schema.model import StrictModel
from app.settings.yaml_document import KeyPath

ANY_ITEM = "[]"
"""Stands in a key's path for an item of a list."""
ANY_NAME = "*"
"""Stands in a key's path for a name the deployer chooses."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a file."""

    path: tuple[str, ...]
    field: FieldInfo
    is_section: bool
    """It holds further keys of the schema."""

    @property
    def is_secret(self) -> bool:
        return self.field.annotation is SecretStr

    @property
    def is_fixed(self) -> bool:
        """Its whole path is known: it is not inside a list or under a name of the deployer's."""
        return ANY_ITEM not in self.path and ANY_NAME not in self.path

    @property
    def name(self) -> str:
        return tell_key(self.path)

    def fits(self, path: KeyPath) -> bool:
        """Whether `path`, as found in a file, is this key."""
        return len(path) == len(self.path) and all(map(_fits_step, self.path, path))


def _fits_step(pattern: str, step: str | int) -> bool:
    if isinstance(step, int):
        return pattern == ANY_ITEM
    return pattern in (step, ANY_NAME)


def tell_key(path: KeyPath) -> str:
    """The path as people write it: `routes[2].authz_map.GET`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step == ANY_ITEM:
            text += step
        else:
            text += f".{step}" if text else step
    return text


@cache
def list_keys(model: type[StrictModel]) -> tuple[Key, ...]:
    """Every key of a schema, sections before what they hold, in the order of the file."""
    return tuple(_walk(model, ()))


def _walk(model: type[StrictModel], prefix: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        inner = _unwrap_section(field.annotation)
        yield Key(path, field, inner is not None)
        if inner is not None:
            steps, section = inner
            yield from _walk(section, (*path, *steps))


def _unwrap_section(annotation: Any) -> tuple[tuple[str, ...], type[StrictModel]] | None:
    """The model inside an annotation and the steps that lead to it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return (), annotation
    if origin is Annotated:
        return _unwrap_section(arguments[0])
    inner, step = None, ""
    if origin is tuple:
        inner, step = _unwrap_section(arguments[0]), ANY_ITEM
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        inner, step = _unwrap_section(arguments[1]), ANY_NAME
    return None if inner is None else ((step, *inner[0]), inner[1])


def find_section(model: type[StrictModel], path: KeyPath) -> type[StrictModel] | None:
    """The schema of the section at `path`; None: there is no section."""
    if not path:
        return model
    for candidate in list_keys(model):
        inner = _unwrap_section(candidate.field.annotation)
        whole = (*candidate.path, *inner[0]) if inner else ()
        if inner and len(whole) == len(path) and all(map(_fits_step, whole, path)):
            return inner[1]
    return None


def find_key(model: type[StrictModel], path: KeyPath) -> Key | None:
    """The key that `path` of a file is, if the schema knows it."""
    return next((key for key in list_keys(model) if key.fits(path)), None)


def list_sibling_names(model: type[StrictModel], parent: KeyPath) -> list[str]:
    """The names the schema knows in the section at `parent`."""
    section = find_section(model, parent)
    return list(section.model_fields) if section else []


def is_secret_path(model: type[StrictModel], path: KeyPath) -> bool:
    """Whether the value at `path`, or a part of it, must never be shown."""
    secrets = (key.path for key in list_keys(model) if key.is_secret)
    return any(len(path) <= len(secret) and all(map(_fits_step, secret, path)) for secret in secrets)
