"""`bff routes explain` says of every row P of the attack table what the pipeline does with it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import main
from tests.live.test_gateway_paths import NOT_ALLOWED, REFUSED, SENT_UNCHANGED
from tests.support.gateway import Gateway

pytestmark = pytest.mark.live

NEW_FOR_EACH_CALL = {b"x-correlation-id", b"traceparent"}
OF_THE_CALLER = {b"x-user-id", b"x-original-user", b"x-session-id", b"x-forwarded-for", b"authorization"}


def explain(gateway: Gateway, method: str, target: str, *options: str) -> tuple[int, dict[str, Any]]:
    """`target` is the text of the request line, latin-1 decoded, as the tables hold it."""
    arguments = ["routes", "explain", "--json", *options, "--", method, os.fsdecode(target.encode("latin-1"))]
    result = CliRunner(env={"BFF_CONFIG_DIR": str(gateway.bff.directory / "config")}).invoke(main, arguments)
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(("target", "code"), REFUSED)
def test_what_the_pipeline_refuses_is_explained_as_refused(gateway: Gateway, target: str, code: str) -> None:
    answer = gateway.call("GET", target)
    exit_code, explanation = explain(gateway, "GET", target)
    assert exit_code == 1
    assert explanation["backend"] is None
    refusal = explanation["refusal"]
    assert refusal["status"] == answer.status
    if code != "bad_request":  # what is no request line is refused by the parser before the pipeline, in its own words
        assert (refusal["code"], refusal["detail"]) == (answer.code, json.loads(answer.body)["detail"])


@pytest.mark.parametrize(("method", "target", "status", "code"), NOT_ALLOWED)
def test_a_method_that_is_not_allowed_is_explained_as_refused(
    gateway: Gateway, method: str, target: str, status: int, code: str
) -> None:
    exit_code, explanation = explain(gateway, method, target)
    assert exit_code == 1
    assert (explanation["refusal"]["status"], explanation["refusal"]["code"]) == (status, code)


@pytest.mark.parametrize(("target", "expected"), SENT_UNCHANGED)
def test_what_is_sent_is_explained_byte_for_byte(gateway: Gateway, target: str, expected: str) -> None:
    gateway.call("GET", target)
    [request] = gateway.take_requests()
    exit_code, explanation = explain(gateway, "GET", target)
    assert exit_code == 0
    backend = explanation["backend"]
    assert backend["request_line"].encode("latin-1") == request.request_line
    assert backend["url"] == gateway.backend.url + expected
    explained = [f"{name}: {value}".encode("latin-1") for name, value in backend["headers"]]
    assert list_comparable(explained) == list_comparable(request.header_lines)


def list_comparable(lines: list[bytes]) -> list[bytes]:
    """In order; of lines that differ from call to call or from caller to caller the name alone."""
    differing = NEW_FOR_EACH_CALL | OF_THE_CALLER
    names = [line.split(b":", 1)[0] for line in lines]
    return [name if name.lower() in differing else line for name, line in zip(names, lines, strict=True)]
