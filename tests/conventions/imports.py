"""Reads what Python files import, without running them, and holds that against the layout's rules.

Imports for type checkers count like any other: what a layer's types know, the layer knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_DATA = frozenset({"core", "settings", "observability"})
_BELOW_WIRING = _DATA | {"services", "gateway"}
_BELOW_DOORS = _BELOW_WIRING | {"wiring"}

MAY_IMPORT = {
    "core": frozenset({"core"}),
    "settings": frozenset({"core", "settings"}),
    "observability": frozenset({"core", "observability"}),
    "services": _DATA | {"services"},
    "gateway": _BELOW_WIRING,
    "wiring": _BELOW_DOORS,
    "blueprints": _BELOW_DOORS | {"blueprints"},
    "hooks": _BELOW_DOORS | {"hooks"},
    "cli": _BELOW_DOORS | {"cli"},
}
"""Layer to the layers it may import. `app/__init__.py` composes, so it may import everything; nothing imports it."""

FLASK = frozenset({"flask", "flask_session", "werkzeug"})
FLASK_PLACES = (
    *("app/__init__.py", "app/wiring.py", "app/blueprints/", "app/hooks/"),
    "app/services/session_store",
)

GEVENT = frozenset({"gevent", "greenlet"})
GEVENT_PLACES = ("gunicorn.conf.py", "app/gateway/worker.py", "app/services/green_sockets.py")
"""All other code is plain blocking Python, which gunicorn.conf.py patches. A file that starts greenlets, or lets them
wait, joins here."""

PICKLING = frozenset(
    {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "jsonpickle"}
)
ENVIRONMENT_NAMES = frozenset({"environ", "environb", "getenv", "getenvb", "putenv"})
SETTINGS_PLACE = "app/settings/"
EMBEDDED_METADATA = frozenset({"importlib.metadata", "importlib.resources"})


@dataclass(frozen=True, slots=True)
class Violation:
    path: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, or a name that may be one; relative imports are resolved."""

    module: str
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def list_imports(tree: ast.AST, path: str) -> Iterator[Import]:
    """Yields every import in the file, wherever it stands. `from a import b` yields `a.b`."""
    package = path.removesuffix("/__init__.py").removesuffix(".py").split("/")
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (Import(f"{module}.{alias.name}", node.lineno) for alias in node.names)


def find_violations(source: str, path: str) -> list[Violation]:
    """Returns where a file breaks the rules; `path` is relative to the project, with forward slashes."""
    tree = ast.parse(source)
    imports = list(list_imports(tree, path))
    found = [
        *(Violation(path, each.line, rule) for each in imports for rule in _judge_import(each, path)),
        *_find_environment_reads(tree, path),
        *_find_dynamic_imports(tree, path),
    ]
    return sorted(set(found), key=lambda violation: (violation.line, violation.rule))


def _judge_import(each: Import, path: str) -> Iterator[str]:
    if path.startswith("app/") and each.top == "app":
        yield from _judge_layers(_get_layer(path), each)
    if each.top in FLASK and path.startswith("app/") and not path.startswith(FLASK_PLACES):
        yield f"{each.top} has no place here"
    if each.top in GEVENT and path not in GEVENT_PLACES:
        yield "gevent is imported only where greenlets are started or wait"
    if each.top in PICKLING:
        yield "nothing is pickled"
    if each.top == "yaml" and not path.startswith(SETTINGS_PLACE):
        yield "only settings reads YAML"
    if each.module.startswith("importlib") and not any(each.module.startswith(kind) for kind in EMBEDDED_METADATA):
        yield "imports are written out"


def _judge_layers(layer: str, each: Import) -> Iterator[str]:
    if layer == "":
        return
    parts = each.module.split(".")
    target = parts[1] if len(parts) > 1 else ""
    if target not in MAY_IMPORT:
        yield f"{layer} imports the composed application"
    elif target not in MAY_IMPORT[layer]:
        yield f"{layer} imports {target}"


def _get_layer(path: str) -> str:
    """Returns the second part of the path, "" for `app/__init__.py`."""
    part = path.split("/")[1].removesuffix(".py")
    return "" if part == "__init__" else part


def _find_environment_reads(tree: ast.AST, path: str) -> Iterator[Violation]:
    if not path.startswith("app/") or path.startswith(SETTINGS_PLACE):
        return
    names = {"os"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname for alias in node.names if alias.name == "os" and alias.asname}
    for node in ast.walk(tree):
        is_attribute = (
            isinstance(node, ast.Attribute)
            and node.attr in ENVIRONMENT_NAMES
            and isinstance(node.value, ast.Name)
            and node.value.id in names
        )
        is_import = (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in ENVIRONMENT_NAMES or alias.name == "*" for alias in node.names)
        )
        if is_attribute or is_import:
            yield Violation(path, getattr(node, "lineno", 0), "only settings reads the environment")


def _find_dynamic_imports(tree: ast.AST, path: str) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "__import__":
            yield Violation(path, node.lineno, "imports are written out")
