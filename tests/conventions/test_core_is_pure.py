"""Core decides and does nothing else: no I/O, no clock, no chance, no framework, no state that calls could share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conventions.imports import list_imports

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "app" / "core").rglob("*.py"))

PURE_MODULES = frozenset(
    {
        *("__future__", "abc", "base64", "binascii", "collections", "collections.abc", "dataclasses", "enum"),
        *("functools", "hashlib", "hmac", "html", "ipaddress", "itertools", "json", "math", "operator", "re"),
        *(
            "jsonpath",
            "jsonpath.exceptions",
            "jsonpath.selectors",
            "msgspec",
            "string",
            "types",
            "typing",
            "unicodedata",
            "urllib.parse",
        ),
    }
)
"""A module that is not here is not pure until somebody has looked: `urllib.request` is not, nor is `datetime.now`."""

IMPURE_BUILTINS = frozenset(
    {"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__", "globals", "vars", "setattr"}
)


def find_impurities(source: str, path: str = "app/core/x.py") -> list[str]:
    tree = ast.parse(source)
    return [*_find_modules(tree, path), *_find_builtins(tree), *_find_shared_state(tree)]


def _find_modules(tree: ast.AST, path: str) -> Iterator[str]:
    for each in list_imports(tree, path):
        is_pure = each.module in PURE_MODULES or each.module.rpartition(".")[0] in PURE_MODULES
        if not is_pure and not each.module.startswith("app.core."):
            yield f"{path}:{each.line}: imports {each.module}"


def _find_builtins(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
            yield f"line {node.lineno}: uses {node.id}"


def _find_shared_state(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: writes a global"
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"line {node.lineno}: waits"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_core_is_pure(file: Path) -> None:
    assert find_impurities(file.read_text("utf-8"), file.relative_to(ROOT).as_posix()) == []


def test_core_was_found() -> None:
    assert {"errors.py", "routes.py", "headers.py", "request_target.py"} <= {file.name for file in SOURCES}


@pytest.mark.parametrize(
    "source",
    [
        *("import socket", "import os", "from os import path", "import time", "from time import time", "import random"),
        *("import secrets", "import requests", "import flask", "from flask import request", "import logging"),
        *(
            "from pathlib import Path",
            "import io",
            "import sys",
            "import subprocess",
            "import threading",
            "import uuid",
        ),
        *(
            "import datetime",
            "from datetime import datetime",
            "import urllib.request",
            "import urllib",
            "import asyncio",
        ),
        *("from urllib import request", "import structlog", "import gevent", "import tempfile", "import http.client"),
        *("import app.services.key_ring", "from app import services", "from ..settings import Settings"),
        *("def read():\n    return open('x')", "print(1)", "reader = open", "__import__('os')", "eval('1')"),
        *("count = 0\ndef bump():\n    global count\n    count += 1", "async def wait(): ..."),
        "def late():\n    import os",
    ],
)
def test_the_check_sees_what_is_not_pure(source: str) -> None:
    assert find_impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import re",
            "import collections.abc",
            "from collections.abc import Mapping",
            "from urllib.parse import quote",
        ),
        *("import urllib.parse", "from app.core.errors import BffError", "from app.core import errors"),
        *("from .errors import BffError", "import hmac\nhmac.digest(b'', b'', 'sha256')", "import re\nre.compile('x')"),
    ],
)
def test_the_check_lets_pure_code_pass(source: str) -> None:
    assert find_impurities(source) == []
