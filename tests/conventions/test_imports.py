"""Imports point down, and what is dangerous or heavy is imported in named places only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conventions.imports import MAY_IMPORT, find_violations

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "app").rglob("*.py"), ROOT / "wsgi.py", ROOT / "gunicorn.conf.py"])


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_keeps_to_the_import_rules(file: Path) -> None:
    violations = find_violations(file.read_text("utf-8"), file.relative_to(ROOT).as_posix())
    assert [str(violation) for violation in violations] == []


def test_every_part_of_the_tree_has_its_rule() -> None:
    parts = {file.relative_to(ROOT / "app").parts[0].removesuffix(".py") for file in (ROOT / "app").rglob("*.py")}
    assert parts - {"__init__"} <= set(MAY_IMPORT)


BAD = [
    # Upwards or sideways, in every form an import has.
    ("app/core/x.py", "from app.services.key_ring import KeyRing"),
    ("app/core/x.py", "import app.services.key_ring"),
    ("app/core/x.py", "from app import services"),
    ("app/core/x.py", "from ..services import key_ring"),
    ("app/core/x.py", "from .. import services"),
    ("app/core/x.py", "def late():\n    from app.settings import Settings"),
    ("app/core/x.py", "if TYPE_CHECKING:\n    from app.settings import Settings"),
    ("app/core/__init__.py", "from ..settings import Settings"),
    ("app/settings/x.py", "from app.observability import logs"),
    ("app/observability/x.py", "from app.settings import Settings"),
    ("app/services/x.py", "from app.gateway.messages import ProxyRequest"),
    ("app/services/deep/x.py", "from ...wiring import Services"),
    ("app/gateway/x.py", "from app.wiring import Services"),
    ("app/gateway/x.py", "import app.blueprints.proxy"),
    ("app/wiring.py", "from app.blueprints import auth"),
    ("app/wiring.py", "from .hooks import request_context"),
    ("app/blueprints/x.py", "from app.hooks import request_context"),
    ("app/hooks/x.py", "from app.blueprints import auth"),
    ("app/cli/x.py", "from app.blueprints import auth"),
    ("app/cli/x.py", "from app import create_app"),
    ("app/cli/x.py", "import app"),
    ("app/gateway/x.py", "from app import *"),
    # Flask
    ("app/core/x.py", "import flask"),
    ("app/services/login_flow.py", "from flask import request"),
    ("app/services/login_flow.py", "from werkzeug.http import parse_cookie"),
    ("app/gateway/x.py", "from flask import g"),
    ("app/settings/x.py", "import flask_session"),
    # gevent
    ("app/core/x.py", "import gevent"),
    ("app/services/x.py", "from gevent import monkey"),
    ("app/gateway/pipeline.py", "import gevent.event"),
    ("app/observability/x.py", "import greenlet"),
    ("wsgi.py", "from gevent.monkey import patch_all"),
    # Pickling
    ("app/services/session_store/x.py", "import pickle"),
    ("app/services/x.py", "from pickle import loads"),
    ("app/settings/x.py", "import marshal"),
    ("gunicorn.conf.py", "import shelve"),
    # YAML and the environment
    ("app/services/x.py", "import yaml"),
    ("app/cli/x.py", "from yaml import safe_load"),
    ("app/services/x.py", "import os\nos.environ['X']"),
    ("app/services/x.py", "import os\nos.getenv('X')"),
    ("app/services/x.py", "import os as system\nsystem.environ.get('X')"),
    ("app/cli/x.py", "from os import environ"),
    ("app/wiring.py", "from os import getenv as read"),
    ("app/__init__.py", "import os\nprint(os.environ)"),
    # Ways round
    ("app/core/x.py", "import importlib\nimportlib.import_module('flask')"),
    ("app/services/x.py", "from importlib import import_module"),
    ("app/core/x.py", "__import__('flask')"),
]

GOOD = [
    ("app/core/x.py", "from app.core.errors import BffError\nimport re"),
    ("app/core/x.py", "from .errors import BffError"),
    ("app/settings/x.py", "import yaml, os\nfrom app.core.routes import Route\nos.environ"),
    ("app/observability/x.py", "from app.core.errors import BffError"),
    ("app/services/x.py", "from app.settings import Settings\nfrom app.observability import audit\nimport os\nos.open"),
    (
        "app/services/session_store/flask_interface.py",
        "from flask import Flask\nfrom app.services.token_store import TokenSet",
    ),
    ("app/gateway/x.py", "from app.services.upstream_client import UpstreamClient"),
    ("app/gateway/worker.py", "import gevent\nfrom app.gateway.pipeline import Pipeline"),
    ("app/gateway/wsgi_door.py", "def call(environ, request):\n    return environ['x'], request.environ"),
    ("app/wiring.py", "from app.gateway.pipeline import Pipeline\nfrom flask import Flask"),
    ("app/blueprints/x.py", "from app.wiring import Services\nimport flask\nfrom .pages import build_page"),
    ("app/hooks/x.py", "from flask import g\nfrom app.gateway import messages"),
    ("app/cli/x.py", "from app.settings import load_configuration\nfrom importlib.metadata import version"),
    ("app/__init__.py", "from app.blueprints import auth\nfrom app import wiring\nfrom flask import Flask"),
    ("gunicorn.conf.py", "import os\nfrom gevent import monkey\nos.environ.get('BFF_BIND')"),
    ("wsgi.py", "from app import create_app"),
]


@pytest.mark.parametrize(("path", "source"), BAD, ids=[f"{path}-{source}" for path, source in BAD])
def test_the_check_sees_a_broken_rule(path: str, source: str) -> None:
    assert find_violations(source, path)


@pytest.mark.parametrize(("path", "source"), GOOD, ids=[f"{path}-{source}" for path, source in GOOD])
def test_the_check_lets_a_kept_rule_pass(path: str, source: str) -> None:
    assert find_violations(source, path) == []


def test_a_violation_says_where_and_why() -> None:
    (violation,) = find_violations("import re\nimport pickle\n", "app/services/x.py")
    assert str(violation) == "app/services/x.py:2: nothing is pickled"
