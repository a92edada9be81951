"""`bff routes list` and `bff routes explain`: what they print, and when they refuse. What the pipeline does with the
rows of the attack table is compared in tests/live/test_explained_paths.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.raw_backend import find_closed_port
from tests.unit.settings.config_folder import ConfigFolder

GET_FORM = {"resource": "form", "action": "read", "id_from": "{path}"}
POST_FORM = {"resource": "form", "action": "create", "props": {"kind": "$.kind"}}
SECRET = "a-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def pdp() -> Iterator[AuthzenPdp]:
    with AuthzenPdp() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, pdp: AuthzenPdp) -> ConfigFolder:
    """One route that asks with a map of its own, one that the endpoint map speaks for, one that asks nobody."""
    pdp.requests.clear()
    pdp.decide, pdp.explain = lambda _: True, lambda _: None
    folder = ConfigFolder(tmp_path)
    folder.change("authz.validation_strict", False)
    folder.change_route(
        id="forms", authz="pdp", methods=["GET", "POST", "DELETE"], authz_map={"GET": GET_FORM, "POST": POST_FORM}
    )
    folder.add_route(id="notes", path="/api/notes/{id}", upstream_path="/notes/{id}", authz="pdp", methods=["GET"])
    folder.add_route(id="all", path="/api/*", upstream_path="/{path}", authz="none")
    folder.pdp = {
        "connection": {"base_url": pdp.url, "auth": "api_key", "api_key": SECRET},
        "retry": {"max_retries": 0},
        "subject_claims": ["roles"],
        "endpoint_map": {"/api/notes/*": {"GET": {"resource": "note", "action": "read", "id_from": "{path}"}}},
    }
    return folder


def run(folder: ConfigFolder, *arguments: str, stdin: bytes | None = None) -> Result:
    runner = CliRunner(env={"BFF_CONFIG_DIR": str(folder.write())})
    return runner.invoke(main, ["routes", *arguments], input=stdin)


def explain(folder: ConfigFolder, *arguments: str, stdin: bytes | None = None) -> tuple[int, dict[str, Any]]:
    result = run(folder, "explain", "--json", *arguments, stdin=stdin)
    return result.exit_code, json.loads(result.stdout)


def test_the_list_tells_where_each_route_leads_and_where_its_mapping_is_from(folder: ConfigFolder) -> None:
    result = run(folder, "list")
    assert result.exit_code == 0
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        [
            "forms",
            "/api/forms/*",
            "DELETE GET HEAD POST",
            "session",
            "pdp: DELETE unmapped; GET HEAD POST authz_map",
            "crud",
            "http://crud:8080/forms/{path}",
        ],
        [
            "notes",
            "/api/notes/{id}",
            "GET HEAD",
            "session",
            "pdp: endpoint_map /api/notes/*",
            "crud",
            "http://crud:8080/notes/{id}",
        ],
        ["all", "/api/*", "DELETE GET HEAD PATCH POST PUT", "session", "none", "crud", "http://crud:8080/{path}"],
    ]


def protect_tools(folder: ConfigFolder) -> None:
    """Two entries for an application behind an edge; one asks, and the endpoint map speaks for a part of it."""
    asking = {"authz": "pdp", "authz_map": {"GET": {"resource": "tool", "action": "use", "id_from": "{path}"}}}
    folder.routes["forward_auth"] = [
        {"host": "app.example.com", "path": "/tools/*", "login_redirect": True, **asking},
        {"host": "app.example.com", "path": "/graph", "authz": "none"},
    ]
    assert folder.pdp is not None
    folder.pdp["endpoint_map"]["/tools/{id}"] = {
        "GET": {"resource": "never", "action": "looked-at"},
        "PUT": {"resource": "tool", "action": "change"},
        "POST": {"resource": "tool", "action": "create", "props": {"kind": "$.kind"}},  # an edge keeps the body
    }


def test_the_list_tells_what_an_edge_may_let_through(folder: ConfigFolder) -> None:
    protect_tools(folder)
    result = run(folder, "list")
    assert result.exit_code == 0
    assert [line.split("\t") for line in result.stdout.splitlines()][3:] == [
        [
            "app.example.com/tools/*",
            "/tools/*",
            "any",
            "session",
            "pdp: GET HEAD authz_map; PUT endpoint_map /tools/{id}; others unmapped",
            "-",
            "forward_auth",
        ],
        ["app.example.com/graph", "/graph", "any", "session", "none", "-", "forward_auth"],
    ]
    tools = json.loads(run(folder, "list", "--json").stdout)[3]
    assert (tools["kind"], tools["host"], tools["login_redirect"]) == ("forward_auth", "app.example.com", True)
    assert tools["mappings"] == {
        "GET": ["authz_map"], "HEAD": ["authz_map"], "PUT": ["endpoint_map /tools/{id}"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "last_line"),
    [([], "3 routes, 2 forward_auth entries."), (["--service", "crud"], "3 routes.")],
    ids=["both", "routes"],
)
def test_at_a_terminal_the_list_ends_with_how_many_there_are(
    folder: ConfigFolder, options: list[str], last_line: str
) -> None:
    protect_tools(folder)
    environment = {"BFF_CONFIG_DIR": str(folder.write()), "FORCE_COLOR": "1", "COLUMNS": "200"}
    shown = CliRunner(env=environment).invoke(main, ["routes", "list", *options]).stdout.splitlines()
    assert shown[-1] == last_line


def test_what_an_edge_asks_about_and_nobody_mapped_is_told(folder: ConfigFolder) -> None:
    protect_tools(folder)
    folder.routes["forward_auth"][1]["authz"] = "pdp"
    assert run(folder, "list").stdout.splitlines()[4].split("\t")[4] == "pdp: unmapped"


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        pytest.param(["--authz", "pdp"], ["forms", "notes", "app.example.com/tools/*"], id="asking"),
        pytest.param(["--authz", "none"], ["all", "app.example.com/graph"], id="not-asking"),
        pytest.param(["--service", "crud"], ["forms", "notes", "all"], id="service"),
    ],
)
def test_the_list_of_both_can_be_narrowed(folder: ConfigFolder, options: list[str], ids: list[str]) -> None:
    protect_tools(folder)
    assert [entry["id"] for entry in json.loads(run(folder, "list", "--json", *options).stdout)] == ids


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        pytest.param(["--authz", "pdp"], ["forms", "notes"], id="asking"),
        pytest.param(["--authz", "none"], ["all"], id="not-asking"),
        pytest.param(["--service", "crud"], ["forms", "notes", "all"], id="service"),
        pytest.param(["--service", "other"], [], id="unknown-service"),
    ],
)
def test_the_list_can_be_narrowed(folder: ConfigFolder, options: list[str], ids: list[str]) -> None:
    assert [entry["id"] for entry in json.loads(run(folder, "list", "--json", *options).stdout)] == ids


def test_the_list_as_json_names_the_source_of_each_methods_mapping(folder: ConfigFolder) -> None:
    folder.change("authz.default_mapping_enabled", True)
    forms, notes, everything = json.loads(run(folder, "list", "--json").stdout)
    assert forms["mappings"] == {
        "DELETE": ["derived"], "GET": ["authz_map"], "HEAD": ["authz_map"], "POST": ["authz_map"]
    }  # fmt: skip
    assert notes["mappings"]["GET"] == ["endpoint_map /api/notes/*", "derived"]
    assert everything["mappings"] == {}


def test_a_call_is_explained_from_the_target_to_the_backend(folder: ConfigFolder) -> None:
    exit_code, explanation = explain(folder, "GET", "/api/forms/a%20b?x=1")
    assert exit_code == 0
    assert explanation["target"] == {"path": "/api/forms/a%20b", "query": "x=1"}
    assert (explanation["route"]["id"], explanation["route"]["caught"]) == ("forms", {"path": "a%20b"})
    assert explanation["other_candidates"] == [{"id": "all", "path": "/api/*", "lost": "/api/forms/* is more specific"}]
    assert explanation["mapping"] == {
        "source": "authz_map", "at": "/api/forms/*", "resource": "form", "action": "read", "reads_body": False
    }  # fmt: skip
    assert explanation["question"]["text"] == (
        '{"subject":{"type":"user","id":"sample-user","properties":{"roles":[]}},'
        '"action":{"name":"read"},"resource":{"type":"form","id":"a b"}}'
    )
    assert explanation["question"]["is_remembered"] is True
    assert explanation["decision"] == {"asked": False}
    assert explanation["backend"]["url"] == "http://crud:8080/forms/a%20b?x=1"
    assert ["Authorization", "Bearer ***"] in explanation["backend"]["headers"]


def test_the_text_says_the_same_in_words(folder: ConfigFolder) -> None:
    result = run(folder, "explain", "GET", "/api/notes/7")
    assert result.exit_code == 0
    for line in (
        "route       notes (/api/notes/{id}), {id} is '7'",
        "            not all (/api/*): /api/notes/{id} is more specific",
        "mapping     read on note, from endpoint_map of /api/notes/*",
        "decision    not asked (--ask asks)",
        "backend     http://crud:8080/notes/7   token: user",
        "            Authorization: Bearer ***",
        "passes      if the decision point allows it",
    ):
        assert line in result.stdout.splitlines()


def test_nobody_is_asked_unless_told_to(folder: ConfigFolder, pdp: AuthzenPdp) -> None:
    explain(folder, "GET", "/api/forms/1")
    assert pdp.requests == []


def test_the_decision_comes_from_the_decision_point_with_its_reason(folder: ConfigFolder, pdp: AuthzenPdp) -> None:
    pdp.decide, pdp.explain = lambda _: False, lambda _: {"reason_user": "Not on Sundays."}
    exit_code, explanation = explain(folder, "GET", "/api/forms/1", "--ask")
    assert exit_code == 1
    assert explanation["decision"] == {"asked": True, "allowed": False, "reason": "Not on Sundays."}
    assert explanation["refusal"]["code"] == "access_denied"
    text = run(folder, "explain", "GET", "/api/forms/1", "--ask").stdout
    assert "refused     403 access_denied: You may not do this." in text
    assert "            the decision point says: Not on Sundays." in text


def test_an_allowed_call_passes_once_the_decision_point_was_asked(folder: ConfigFolder, pdp: AuthzenPdp) -> None:
    exit_code, explanation = explain(folder, "GET", "/api/forms/1", "--ask")
    assert (exit_code, explanation["decision"]) == (0, {"asked": True, "allowed": True})
    assert explanation["backend"] is not None


def test_a_decision_point_that_does_not_answer_refuses(folder: ConfigFolder) -> None:
    assert folder.pdp is not None
    folder.pdp["connection"]["base_url"] = f"http://127.0.0.1:{find_closed_port()}"
    result = run(folder, "explain", "GET", "/api/forms/1", "--ask")
    assert result.exit_code == 1
    assert "refused     503 pdp_unavailable" in result.stdout
    assert "            in the log: " in result.stdout
    assert SECRET not in result.output


def test_the_body_is_read_where_the_mapping_reads_it(folder: ConfigFolder) -> None:
    exit_code, explanation = explain(folder, "POST", "/api/forms", "--body", "-", stdin=b'{"kind": "invoice"}')
    assert exit_code == 0
    assert json.loads(explanation["question"]["text"])["resource"]["properties"] == {"kind": "invoice"}
    assert ["Content-Length", "19"] in explanation["backend"]["headers"]


@pytest.mark.parametrize(
    ("body", "header", "code"),
    [
        pytest.param(b'{"kind": 1, "kind": 2}', "Accept: */*", "bad_request", id="twice"),
        pytest.param(b"{}", "Content-Type: text/plain", "bad_request", id="not-said-to-be-json"),
        pytest.param(b"x" * 1_048_577, "Accept: */*", "body_too_large", id="too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(folder: ConfigFolder, body: bytes, header: str, code: str) -> None:
    exit_code, explanation = explain(folder, "POST", "/api/forms", "--body", "-", "-H", header, stdin=body)
    assert (exit_code, explanation["refusal"]["code"], explanation["question"]) == (1, code, None)


def test_the_caller_is_who_the_claims_say(folder: ConfigFolder) -> None:
    claims = json.dumps({"sub": "bob", "groups": ["editors"], "secret_claim": "x"}).encode()
    exit_code, explanation = explain(folder, "GET", "/api/forms/1", "--as", "-", stdin=claims)
    assert exit_code == 0
    assert explanation["identity"]["user_id"] == "bob"
    assert json.loads(explanation["question"]["text"])["subject"] == {
        "type": "user", "id": "bob", "properties": {"roles": ["editors"]}
    }  # fmt: skip
    assert "secret_claim" not in json.dumps(explanation)


def test_claims_that_nobody_could_log_in_with_are_no_caller(folder: ConfigFolder) -> None:
    result = run(folder, "explain", "GET", "/api/forms/1", "--as", "-", stdin=b'{"sub": ""}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Nobody could have logged in with these claims:")


def test_a_bearer_caller_is_built_as_from_a_token(folder: ConfigFolder) -> None:
    folder.idps = {
        "idps": [
            {
                "name": "partner",
                "issuer": "https://partner.example",
                "audience": "bff",
                "jwks_url": "https://partner.example/jwks",
            }
        ]
    }
    folder.change_route(auth="bearer")
    exit_code, explanation = explain(folder, "GET", "/api/forms/1")
    assert exit_code == 0
    assert (explanation["identity"]["user_id"], explanation["identity"]["provider"]) == ("sample-user", "partner")
    assert ["Authorization", "Bearer ***"] in explanation["backend"]["headers"]
    assert "X-Session-ID" not in dict(explanation["backend"]["headers"])


def test_a_callers_own_token_is_not_shown(folder: ConfigFolder) -> None:
    exit_code, explanation = explain(folder, "GET", "/api/x", "-H", f"Authorization: Bearer {SECRET}")
    assert exit_code == 0
    assert SECRET not in json.dumps(explanation)


def test_a_bound_token_and_its_proof_are_masked(folder: ConfigFolder) -> None:
    folder.change("oidc.dpop", True)
    exit_code, explanation = explain(folder, "GET", "/api/x")
    assert exit_code == 0
    headers = dict(explanation["backend"]["headers"])
    assert (headers["Authorization"], headers["DPoP"]) == ("DPoP ***", "***")


def test_a_step_up_is_told_with_what_a_login_has_to_ask_for(folder: ConfigFolder) -> None:
    folder.change_route(acr_values=["gold"])
    exit_code, explanation = explain(folder, "GET", "/api/forms/1")
    assert exit_code == 1
    assert explanation["refusal"]["code"] == "insufficient_user_authentication"
    assert explanation["refusal"]["login"] == {"acr_values": "gold"}
    claims = b'{"sub": "bob", "acr": "gold"}'
    assert explain(folder, "GET", "/api/forms/1", "--as", "-", stdin=claims)[0] == 0


def test_a_mapping_that_is_missing_is_told(folder: ConfigFolder) -> None:
    exit_code, explanation = explain(folder, "DELETE", "/api/forms/1")
    assert (exit_code, explanation["refusal"]["code"]) == (1, "unmapped")
    assert explanation["mapping"] == {"source": "none", "why": "nothing says what the call means"}


def test_enforcement_that_is_switched_off_is_told(folder: ConfigFolder) -> None:
    folder.change("pdp.enabled", False)
    exit_code, explanation = explain(folder, "DELETE", "/api/forms/1")
    assert (exit_code, explanation["question"]) == (0, None)
    assert explanation["mapping"]["why"] == "pdp.enabled is false: no call is asked about"


def test_a_question_with_the_time_is_never_remembered(folder: ConfigFolder) -> None:
    assert folder.pdp is not None
    folder.pdp["context"] = ["time"]
    _, explanation = explain(folder, "GET", "/api/forms/1")
    assert explanation["question"]["is_remembered"] is False


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["-H", "Origin: https://evil.example"], "csrf_failed", id="B2-origin"),
        pytest.param(["-H", "X-CSRF-Token: no"], "csrf_failed", id="B1-token"),
        pytest.param(["-H", "Host: evil.example"], "unknown_host", id="H21-host"),
        pytest.param(["-H", "Cookie: a=1", "-H", "Cookie: b=2"], "bad_request", id="H8-two-cookie-lines"),
        pytest.param(["-H", "Cookie: __Host-Http-bff_session=x"], "bad_request", id="two-session-cookies"),
    ],
)
def test_header_lines_replace_what_a_page_of_ours_sends(folder: ConfigFolder, arguments: list[str], code: str) -> None:
    exit_code, explanation = explain(folder, "POST", "/api/x", *arguments)
    assert (exit_code, explanation["refusal"]["code"]) == (1, code)


def test_a_preflight_is_answered_by_the_bff(folder: ConfigFolder) -> None:
    folder.change("cors.allow_origins", ["https://spa.example.com"])
    asks = ["-H", "Origin: https://spa.example.com", "-H", "Access-Control-Request-Method: POST"]
    exit_code, explanation = explain(folder, "OPTIONS", "/api/forms/1", *asks)
    assert (exit_code, explanation["answer"]) == (0, {"status": 204, "by": "the BFF: a CORS preflight"})


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["GET"], id="no-path"),
        pytest.param(["GET", "/x", "-H", "no colon"], id="header"),
        pytest.param(["GET", "/x", "--from", "nowhere"], id="address"),
        pytest.param(["GET", "/x", "--as", "/no/such/file"], id="no-file"),
    ],
)
def test_what_cannot_be_understood_is_a_fault_of_usage(folder: ConfigFolder, arguments: list[str]) -> None:
    assert run(folder, "explain", *arguments).exit_code == 2


@pytest.mark.parametrize("claims", [b"", b"[]", b"{", b'{"name": "x"}', b'{"sub": 7}'])
def test_claims_that_are_none_are_a_fault_of_usage(folder: ConfigFolder, claims: bytes) -> None:
    assert run(folder, "explain", "GET", "/x", "--as", "-", stdin=claims).exit_code == 2


def test_nothing_of_a_target_is_an_order_to_a_terminal(folder: ConfigFolder) -> None:
    result = run(folder, "explain", "GET", "/api/\x1b[31m\nx")
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert "ambiguous_path" in result.stdout


def test_explaining_leaves_nothing_behind(folder: ConfigFolder) -> None:
    state = folder.path / "state"
    folder.change("session.directory", str(state))
    explain(folder, "GET", "/api/forms/1", "--ask")
    assert not state.exists()
