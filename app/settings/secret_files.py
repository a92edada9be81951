"""Reads secrets from the files their `*_file` twins name (Docker and Kubernetes secrets)."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.settings.schema.keys import is_secret_path
from app.settings.schema.model import StrictModel
from app.settings.yaml_document import KeyPath, walk_values

SUFFIX = "_file"
MAX_SECRET_BYTES = 64 * 1024


class SecretFileError(Exception):
    """The file cannot be used; the sentence says what is wanted and never what is in it."""


def find_twins(model: type[StrictModel], tree: object) -> Iterator[tuple[KeyPath, str]]:
    """Every `*_file` in a tree that names the file of a secret, with the key of that secret."""
    for path, value in walk_values(tree):
        name = path[-1] if path else ""
        if isinstance(name, str) and name.endswith(SUFFIX) and isinstance(value, str) and value:
            secret = name.removesuffix(SUFFIX)
            if is_secret_path(model, (*path[:-1], secret)):
                yield path, secret


def section_at(tree: Any, path: KeyPath) -> dict[str, object]:
    """The mapping that holds the last step of `path`; it must exist."""
    for step in path[:-1]:
        tree = tree[step]
    found: dict[str, object] = tree
    return found


def drop_overridden_twins(model: type[StrictModel], below: object, above: object) -> object:
    """`below` without each secret that the layer above gives in its other form: the later layer wins as a pair."""
    result = copy.deepcopy(below)
    for path, value in walk_values(above):
        name = path[-1] if path else ""
        if not (isinstance(name, str) and isinstance(value, str) and value):
            continue
        twin = name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name + SUFFIX
        secret = twin if name.endswith(SUFFIX) else name
        if is_secret_path(model, (*path[:-1], secret)):
            _drop(result, (*path[:-1], twin))
    return result


def _drop(tree: Any, path: KeyPath) -> None:
    for step in path[:-1]:
        tree = tree.get(step) if isinstance(tree, dict) else None
    if isinstance(tree, dict):
        tree.pop(path[-1], None)


def tell_wanted_file(error: OSError | ValueError) -> str:
    """What is wanted instead of a file that could not be opened: it is missing, or not for this user."""
    if isinstance(error, FileNotFoundError):
        return "a file that can be read: there is none of this name"
    if isinstance(error, PermissionError):
        return f"a file that can be read: this one may not be read by user id {os.geteuid()}"
    if isinstance(error, IsADirectoryError):
        return "a file that can be read: this is a folder"
    return "a file that can be read"


def load_secret(path: Path) -> str:
    """The secret in a file, without the line end behind it. Raises SecretFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SecretFileError(tell_wanted_file(error)) from error
    if len(content) > MAX_SECRET_BYTES:
        raise SecretFileError(f"a file of at most {MAX_SECRET_BYTES} bytes")
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SecretFileError("a file with text in UTF-8") from error
    if not secret:
        raise SecretFileError("a file with something in it")
    return secret
