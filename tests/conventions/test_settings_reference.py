"""Schema, config/defaults.yaml, the reference pages and the shipped files say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import SecretStr

from app.settings.layers import ENTRIES, WHOLE_FILES
from app.settings.schema.keys import Key, find_section, list_keys
from app.settings.sources import DEFAULTS_FILE, SCHEMAS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "settings.yaml": ("settings.md", "## settings.yaml"),
    "pdp.yaml": ("settings.md", "## pdp.yaml"),
    "idps.yaml": ("idps-yaml.md", "## Keys"),
    "routes.yaml": ("routes-yaml.md", "## Keys"),
}
ROW = re.compile(
    r"^\| `(?P<key>[^`]+)` \| (?P<default>[^|]*) \| (?P<unit>[^|]*) \| (?P<meaning>(?:[^|]|\\\|)+) \|$", re.MULTILINE
)
UNITS = {"_seconds": "seconds", "_days": "days", "_bytes": "bytes"}


def read_rows(file: str) -> dict[str, re.Match[str]]:
    page, heading = PAGES[file]
    section = (REFERENCE / page).read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = list(ROW.finditer(section))
    assert len({row["key"] for row in rows}) == len(rows), "a key is listed twice"
    return {row["key"]: row for row in rows}


def list_documented_keys(file: str) -> list[Key]:
    """Every key but the plain sections, which are in the names of what they hold."""
    return [key for key in list_keys(SCHEMAS[file]) if not (key.is_section and isinstance(key.field.annotation, type))]


def default_of(key: Key) -> Any:
    value = key.field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return list(value) if isinstance(value, tuple) else value


def find_choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for inner in get_args(annotation) if (found := find_choices(inner))), ())


@pytest.mark.parametrize("file", PAGES)
def test_the_reference_lists_exactly_the_keys_of_the_schema(file: str) -> None:
    assert list(read_rows(file)) == [key.name for key in list_documented_keys(file)]


@pytest.mark.parametrize("file", PAGES)
def test_the_reference_tells_every_default(file: str) -> None:
    rows = read_rows(file)
    for key in list_documented_keys(file):
        documented = rows[key.name]["default"].strip()
        if key.field.is_required():
            assert documented == "required", key.name
        elif documented == "empty":
            assert default_of(key) in ("", None), key.name
        else:
            assert yaml.safe_load(documented.strip("`")) == default_of(key), key.name


@pytest.mark.parametrize("file", PAGES)
def test_the_reference_tells_units_and_choices(file: str) -> None:
    rows = read_rows(file)
    for key in list_documented_keys(file):
        row = rows[key.name]
        for ending, unit in UNITS.items():
            assert not key.path[-1].endswith(ending) or row["unit"].strip() == unit, key.name
        for choice in find_choices(key.field.annotation):
            assert f"`{choice}`" in row["meaning"], key.name


def list_default_sections() -> Iterator[Any]:
    """Section of defaults.yaml and the model whose defaults it holds."""
    for file, name in WHOLE_FILES.items():
        yield pytest.param(name, file, (), id=name)
    for file, entries in ENTRIES.items():
        for path, name in entries.items():
            yield pytest.param(name, file, path, id=f"{name} at {'.'.join(path)}")


def flatten_defaults(model: Any) -> dict[str, Any]:
    """What a model fills in, as YAML would say it; required keys are left out."""
    result: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            result[name] = flatten_defaults(field.annotation)
        elif not field.is_required():
            value = field.get_default(call_default_factory=True)
            value = value.get_secret_value() if isinstance(value, SecretStr) else value
            result[name] = list(value) if isinstance(value, tuple) else value
    return result


@pytest.mark.parametrize(("name", "file", "path"), [*list_default_sections()])
def test_the_defaults_file_and_the_schema_have_the_same_defaults(name: str, file: str, path: tuple[str, ...]) -> None:
    shipped = yaml.safe_load(DEFAULTS_FILE.read_text(encoding="utf-8"))
    model = find_section(SCHEMAS[file], path)
    assert shipped[name] == flatten_defaults(model)


def test_the_defaults_file_holds_nothing_else() -> None:
    shipped = yaml.safe_load(DEFAULTS_FILE.read_text(encoding="utf-8"))
    known = {*WHOLE_FILES.values(), *(name for entries in ENTRIES.values() for name in entries.values())}
    assert set(shipped) == known


def test_the_defaults_file_tells_the_meaning_of_every_setting() -> None:
    for line in DEFAULTS_FILE.read_text(encoding="utf-8").splitlines():
        is_setting = re.match(r"^\s+\w+: \S", line)
        assert not is_setting or re.search(r"\s# \S", line), line


def test_the_defaults_file_tells_the_unit_of_every_time_and_size() -> None:
    for line in DEFAULTS_FILE.read_text(encoding="utf-8").splitlines():
        for ending, unit in UNITS.items():
            if re.match(rf"^\s+\w+{ending}: \S", line):
                assert unit.removesuffix("s") in line.split("#", 1)[1], line


def test_the_defaults_file_names_every_required_key() -> None:
    text = DEFAULTS_FILE.read_text(encoding="utf-8")
    for model in SCHEMAS.values():
        for key in list_keys(model):
            if key.field.is_required() and not key.is_section and key.path[0] != "frontends":
                assert re.search(rf"# {key.path[-1]}:\s+# required", text), key.name


def test_every_required_key_has_a_stand_in() -> None:
    """Without one the loader could not go on after the key was found missing."""
    for model in SCHEMAS.values():
        for key in list_keys(model):
            section = find_section(model, key.path[:-1])
            assert section is not None
            assert not key.field.is_required() or key.path[-1] in section.stand_ins, key.name
