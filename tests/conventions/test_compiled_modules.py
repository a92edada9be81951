"""What is compiled for production has to mean the same to the compiler as to the interpreter.

mypyc leaves out in silence what stands in a class's parentheses beside its bases, so that `frozen=True` would hold in
development only.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COMPILED: list[str] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["bff"]["compiled"]


def find_class_keywords(source: str) -> list[str]:
    return [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.keywords]


def test_every_module_that_is_to_be_compiled_exists_and_stands_once() -> None:
    assert sorted(set(COMPILED)) == COMPILED
    assert [path for path in COMPILED if not (PROJECT / path).is_file()] == []
    assert "app/gateway/pipeline.py" in COMPILED


@pytest.mark.parametrize("path", COMPILED)
def test_no_class_that_is_compiled_has_keywords(path: str) -> None:
    assert find_class_keywords((PROJECT / path).read_text(encoding="utf-8")) == []


def test_keywords_would_be_found() -> None:
    assert find_class_keywords("class A(Struct, frozen=True): ...\nclass B(A): ...") == ["A"]
