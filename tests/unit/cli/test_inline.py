"""`bff pdp inline`: what moves, what stays and why, that nothing else in the files changes, and what the proof sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli import main
from app.cli.inline_proof import prove
from app.cli.inlining import inline_endpoint_map
from app.core.path_inclusion import express_within, translate_template
from app.core.path_table import parse_route_path
from app.settings import Configuration, load_configuration
from tests.unit.settings.config_folder import ConfigFolder

ROUTES = """\
# What leads where. Keep the order.
services:
  crud: {base_url: "http://crud:8080/v1", token: {mode: user}}   # one backend

routes:
  # Forms, as everybody knows them.
  - path: /api/forms/*
    id: forms
    target_service: crud
    upstream_path: /forms/{path}   # whatever follows
    auth: session
    authz: pdp
    methods: [GET, POST, PUT, DELETE]
    authz_map:
      DELETE: {resource: form, action: delete, id_from: "{path}"}   # said here already

  - {path: "/api/notes/{note}", id: notes, target_service: crud, upstream_path: "/notes/{note}", auth: session,
     authz: pdp, methods: [GET, PUT]}

  - path: /api/lists/*             # its parts mean different things
    id: lists
    target_service: crud
    upstream_path: /lists/{path}
    auth: session
    authz: pdp
    methods: [GET, POST]
  - path: /free/*
    target_service: crud
    upstream_path: /free/{path}
    auth: session
    authz: none
# The end.
"""
PDP = """\
# Ask here.
connection: {base_url: "http://pdp:3592"}

endpoint_map:
  /api/forms/*:                    # every form
    GET: {resource: form, action: read, id_from: "{path}"}
    POST: {resource: form, action: create, props: {kind: "$.form.kinds[1]", v: "?v"}}
    PUT: {resource: form, action: update, id_from: "{path}"}
  /api/notes/*:
    GET: {resource: note, action: read, id_from: "{path}"}
    PUT: {resource: note, action: update, id_from: "of-{path}"}
  /api/lists:
    GET: {resource: list, action: list}
    POST: {resource: list, action: create}
  /api/lists/{id}:
    GET: {resource: list, action: read, id_from: "{id}"}
subject_claims: [roles]            # no more
"""

LISTS = "methods: [GET, POST]"
PATCHES = "{PATCH: {resource: x, action: x}}"
READS = {"GET": {"resource": "r", "action": "a"}}


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    folder = ConfigFolder(tmp_path / "config")
    folder.path.mkdir()
    folder.texts = {"routes.yaml": ROUTES, "pdp.yaml": PDP}
    return folder


def run(folder: ConfigFolder, *arguments: str) -> Result:
    return CliRunner(env={"BFF_CONFIG_DIR": str(folder.write())}).invoke(main, ["pdp", "inline", *arguments])


def write_new(folder: ConfigFolder, tmp_path: Path) -> tuple[str, str]:
    """The two new texts."""
    result = run(folder, "--write", str(tmp_path / "new"))
    assert result.exit_code == 0, result.output
    return (tmp_path / "new" / "routes.yaml").read_text(), (tmp_path / "new" / "pdp.yaml").read_text()


def test_without_a_folder_it_shows_what_would_change_and_changes_nothing(folder: ConfigFolder, tmp_path: Path) -> None:
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert (folder.path / "routes.yaml").read_text() == ROUTES
    assert (folder.path / "pdp.yaml").read_text() == PDP
    assert "+      GET: {resource: form, action: read, id_from: '{path}'}" in result.stdout
    assert "-  /api/forms/*:                    # every form" in result.stdout
    assert re.search(r"moved +/api/lists/\{id\} +\d+ calls answered alike", result.stdout)
    assert re.search(r"Proved with [\d,]+ calls", result.stdout)


def test_each_entry_goes_into_the_route_it_speaks_for(folder: ConfigFolder, tmp_path: Path) -> None:
    routes, pdp = (yaml.safe_load(text) for text in write_new(folder, tmp_path))
    by_path = {route["path"]: route for route in routes["routes"]}
    assert list(by_path["/api/forms/*"]["authz_map"]) == ["DELETE", "GET", "POST", "PUT"]
    assert by_path["/api/notes/{note}"]["authz_map"] == {
        "GET": {"resource": "note", "action": "read", "id_from": "{note}"},
        "PUT": {"resource": "note", "action": "update", "id_from": "of-{note}"},
    }
    assert by_path["/api/lists"] == {
        "path": "/api/lists", "id": "lists-1", "target_service": "crud", "upstream_path": "/lists", "auth": "session",
        "authz": "pdp", "methods": ["GET", "POST"],
        "authz_map": {"GET": {"resource": "list", "action": "list"}, "POST": {"resource": "list", "action": "create"}},
    }  # fmt: skip
    assert by_path["/api/lists/{id}"]["methods"] == ["GET"]
    assert by_path["/api/lists/{id}"]["upstream_path"] == "/lists/{id}"
    assert "/api/lists/*" not in by_path, "nothing of it was mapped but its parts"
    assert pdp["endpoint_map"] == {}


def test_every_line_that_need_not_change_is_as_it_was(folder: ConfigFolder, tmp_path: Path) -> None:
    routes, pdp = write_new(folder, tmp_path)
    for line in ROUTES.splitlines():
        if "lists" not in line and "authz: pdp, methods: [GET, PUT]" not in line:
            assert line in routes.splitlines(), line
    for comment in ("# Ask here.", "# no more"):
        assert comment in pdp
    assert "# said here already" in routes


def test_files_that_are_there_are_not_written_over(folder: ConfigFolder, tmp_path: Path) -> None:
    folder.write()
    result = run(folder, "--write", str(folder.path))
    assert result.exit_code == 1
    assert "already" in result.output
    assert (folder.path / "routes.yaml").read_text() == ROUTES


def test_p17_what_another_route_would_get_otherwise_stays(folder: ConfigFolder) -> None:
    """Without its wildcard, `/api/lists/1/x` would go to a route that asks nobody."""
    folder.texts["routes.yaml"] = ROUTES.replace("/free/*", "/api/*")
    result = run(folder)
    assert result.exit_code == 0, result.output
    stays = [line for line in result.stdout.splitlines() if line.startswith("stays")]
    assert [line.split()[1] for line in stays] == ["/api/lists", "/api/lists/{id}"]
    assert all("would answer" in line for line in stays)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"context": ["route_id"]}, "told a route's id", id="route-id"),
        pytest.param({"endpoint_map": {"/api/{what}/x": READS}}, "in common", id="crossing"),
        pytest.param({"endpoint_map": {"/nowhere": READS}}, "no route asks", id="no-route"),
    ],
)
def test_the_reason_why_something_stays_is_told(folder: ConfigFolder, change: dict[str, Any], reason: str) -> None:
    folder.change("authz.validation_strict", False)
    folder.texts["pdp.yaml"] = yaml.safe_dump({**yaml.safe_load(PDP), **change})
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert reason in result.stdout


def test_aliases_are_told_and_nothing_is_tried(folder: ConfigFolder) -> None:
    folder.texts["pdp.yaml"] = PDP.replace("  /api/lists:\n    GET: {", "  /api/lists:\n    GET: &one {").replace(
        "POST: {resource: list, action: create}", "POST: *one"
    )
    result = run(folder)
    assert result.exit_code == 1
    assert "aliases" in result.output


def test_without_entries_there_is_nothing_to_move(folder: ConfigFolder) -> None:
    folder.change("authz.validation_strict", False)
    folder.texts["pdp.yaml"] = "connection: {base_url: 'http://pdp:3592'}\n"
    result = run(folder)
    assert (result.exit_code, result.stdout) == (0, "endpoint_map is empty: there is nothing to move.\n")


def load(folder: ConfigFolder, routes: str, pdp: str = PDP) -> Configuration:
    folder.texts = {"routes.yaml": routes, "pdp.yaml": pdp}
    return load_configuration(folder.write(), {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("action: delete", "action: read", id="another-action"),
        pytest.param("/forms/{path}   #", "/form/{path}   #", id="D6-another-address"),
        pytest.param('delete, id_from: "{path}"', 'delete, id_from: "x{path}"', id="another-id"),
        pytest.param("authz: pdp\n    methods: [GET, POST]\n", f"authz: none\n    {LISTS}\n", id="asks-nobody"),
        pytest.param(f"{LISTS}\n", f"methods: [GET, POST, PATCH]\n    authz_map: {PATCHES}\n", id="D8-one-more"),
    ],
)  # fmt: skip
def test_the_proof_sees_every_difference(folder: ConfigFolder, old: str, new: str) -> None:
    assert old in ROUTES
    before = load(folder, ROUTES)
    proof = prove(before, load(folder, ROUTES.replace(old, new, 1)))
    assert proof.differences
    assert not prove(before, before).differences


def test_a_plan_that_is_wrong_is_not_written(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def translate_wrongly(source: str, expressions: Any) -> str:
        return translate_template(source, expressions).replace("of-", "off-")

    monkeypatch.setattr("app.cli.inline_plan._translate_source", translate_wrongly)
    result = run(folder, "--write", str(tmp_path / "new"))
    assert result.exit_code == 1
    assert "PUT /api/notes/" in result.output
    assert "Nothing was written" in result.output
    assert not (tmp_path / "new").exists()


def test_the_demo_and_the_shipped_configuration_have_nothing_to_move(tmp_path: Path) -> None:
    demo = Path(__file__).parents[3] / "demo" / "config"
    configuration = load_configuration(demo, {})
    assert inline_endpoint_map(demo, configuration).plan.moved == ()


@pytest.mark.parametrize(
    ("inner", "outer", "expressions"),
    [
        ("/a/{x}", "/a/{y}", {"y": "{x}"}),
        ("/a/b", "/a/{y}", {"y": "b"}),
        ("/a/{x}/c", "/a/*", {"path": "{x}/c"}),
        ("/a/{x}/*", "/a/*", {"path": "{x}/{path}"}),
        ("/a", "/a/*", {"path": ""}),
        ("/a/", "/a/*", {"path": ""}),
        ("/a/*", "/a/*", {"path": "{path}"}),
        ("/a/*", "/a/{y}", None),
        ("/a/{x}", "/a/b", None),
        ("/a/", "/a/{y}", None),
        ("/a/{x}/c", "/a/{x}", None),
        ("/b", "/a/*", None),
    ],
)
def test_a_pattern_within_another_tells_what_the_others_names_catch(
    inner: str, outer: str, expressions: dict[str, str] | None
) -> None:
    assert express_within(parse_route_path(inner), parse_route_path(outer)) == expressions
