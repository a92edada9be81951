"""What is compiled for production has to mean the same to the compiler as to the interpreter.

mypyc leaves out in silence what stands in a class's parentheses beside its bases, so that `frozen=True` would hold in
development only. And a generator that is dropped before its end runs none of its `finally` once it is compiled.
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


def find_generators_that_clean_up(source: str) -> list[str]:
    """Functions with a `yield` inside of `with` or `try … finally`, which a context manager runs to its end always."""
    return [
        function.name
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
        and not any("contextmanager" in ast.unparse(decorator) for decorator in function.decorator_list)
        for block in ast.walk(function)
        if isinstance(block, ast.With) or (isinstance(block, ast.Try) and block.finalbody)
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(block))
    ]


@pytest.mark.parametrize("path", COMPILED)
def test_no_generator_that_is_compiled_counts_on_being_closed(path: str) -> None:
    assert find_generators_that_clean_up((PROJECT / path).read_text(encoding="utf-8")) == []


def test_generators_that_clean_up_would_be_found() -> None:
    loop = "    try:\n        yield 1\n    finally:\n        close()\n"
    assert find_generators_that_clean_up(f"def a():\n{loop}") == ["a"]
    assert find_generators_that_clean_up("def a():\n    with b:\n        yield from c\n") == ["a"]
    assert find_generators_that_clean_up(f"@contextmanager\ndef a():\n{loop}") == []


def test_keywords_would_be_found() -> None:
    assert find_class_keywords("class A(Struct, frozen=True): ...\nclass B(A): ...") == ["A"]
