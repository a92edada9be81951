from __future__ import annotations

import io
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import TestResponse

from app.hooks.request_checks import get_raw_target
from tests.unit.hooks.small_app import HOST, SECRET, build_app
from tests.unit.observability.captured_lines import CapturedLines

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_call_gets_an_id_that_the_answer_and_every_line_carry(client: FlaskClient, captured: CapturedLines) -> None:
    answer = client.get("/auth/store-is-down")

    request_id = answer.headers["X-Correlation-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert answer.json is not None
    assert answer.json["request_id"] == request_id
    answer.close()
    of_the_call = [*captured.of("event"), *captured.of("access")]
    assert [record["request_id"] for record in of_the_call] == [request_id, request_id]


def test_a_well_formed_id_of_the_caller_is_taken_over(client: FlaskClient, captured: CapturedLines) -> None:
    answer = client.get("/health/live", headers={"X-Correlation-ID": "caller-1", "traceparent": TRACEPARENT})
    answer.close()

    assert answer.headers["X-Correlation-ID"] == "caller-1"
    (record,) = captured.of("access")
    assert (record["request_id"], record["trace_id"]) == ("caller-1", TRACEPARENT.split("-")[1])


@pytest.mark.parametrize("presented", ["", "a b", "x" * 129, 'a"b', "ä"])
def test_another_id_is_replaced(client: FlaskClient, presented: str) -> None:
    assert client.get("/health/live", headers={"X-Correlation-ID": presented}).headers["X-Correlation-ID"] != presented


@pytest.mark.parametrize(
    "raw_target",
    [
        pytest.param("/auth/%66ine", id="P5-encoded"),
        pytest.param("/%61uth/fine", id="P5-encoded-first"),
        pytest.param("/auth/./fine", id="P11"),
        pytest.param("/auth/x/../fine", id="P4"),
        pytest.param("/auth/%2e%2e/auth/fine", id="P4-encoded"),
        pytest.param("//auth/fine", id="P8"),
        pytest.param("/auth//fine", id="P8-inside"),
        pytest.param("/auth%2ffine", id="P6"),
        pytest.param("/auth\\fine", id="P9"),
        pytest.param("/auth/fine;x=1", id="P10"),
        pytest.param("/auth/fine%00", id="P13"),
        pytest.param("/auth/fine%ff", id="P13-utf-8"),
    ],
)
def test_a_second_spelling_of_our_own_path_is_refused(client: FlaskClient, raw_target: str) -> None:
    """Whatever path WSGI makes of it."""
    answer = client.get("/auth/fine", environ_overrides={"RAW_URI": raw_target})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "ambiguous_path")


@pytest.mark.parametrize("raw_target", ["http://evil.example/auth/fine", "*", "auth/fine", ""])
def test_a_target_that_is_no_path_is_refused(client: FlaskClient, raw_target: str) -> None:
    """P18, P19. An empty target falls back to what WSGI says."""
    answer = client.get("/auth/fine", environ_overrides={"RAW_URI": raw_target, "REQUEST_URI": raw_target})

    assert answer.headers.get("X-BFF-Error") == ("bad_request" if raw_target else None)


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({"RAW_URI": "/a%2Fb?x"}, "/a%2Fb?x"),
        ({"REQUEST_URI": "/a?x=%20", "PATH_INFO": "/other"}, "/a?x=%20"),
        ({"PATH_INFO": "/a b%", "QUERY_STRING": "x=1"}, "/a%20b%25?x=1"),
        ({"PATH_INFO": "/\xc3\xa4"}, "/%C3%A4"),
        ({}, ""),
    ],
)
def test_the_target_is_the_wire_text_or_the_nearest_to_it(environ: dict[str, Any], target: str) -> None:
    assert get_raw_target(environ) == target


@pytest.mark.parametrize(
    "host", ["evil.example", "app.example.com.evil.example", "app.example.com:8443", "", "app.example.com@x"]
)
def test_a_host_that_is_not_ours_is_refused(client: FlaskClient, host: str) -> None:
    """H21."""
    answer = client.get("/auth/fine", headers={"Host": host})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "unknown_host")


@pytest.mark.parametrize("host", [HOST, "APP.example.com", f"{HOST}:443"])
def test_our_host_in_any_spelling_is_served(client: FlaskClient, host: str) -> None:
    assert client.get("/auth/fine", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/.well-known/jwks.json"])
def test_probes_and_the_provider_may_use_any_host(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200


class Connection:
    """An accepted connection, as gunicorn shows it, on a listener of our choice."""

    def __init__(self, address: str) -> None:
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._client = socket.create_connection((address, self.port))
        self.accepted, _ = self._listener.accept()

    def close(self) -> None:
        for sock in (self.accepted, self._client, self._listener):
            sock.close()


@pytest.fixture
def connection() -> Iterator[Connection]:
    opened = Connection("127.0.0.1")
    yield opened
    opened.close()


@pytest.mark.parametrize("bind", ["127.0.0.1:{}", "localhost:{}", "0.0.0.0:{}"])
def test_a_call_on_the_internal_listener_is_told_by_its_socket(
    tmp_path: Any, connection: Connection, bind: str
) -> None:
    app = build_app(tmp_path, internal_bind=bind.format(connection.port))
    answer = app.test_client().get("/metrics", environ_overrides={"gunicorn.socket": connection.accepted})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "claimed",
    [
        {},
        {"SERVER_PORT": "9000", "SERVER_NAME": "127.0.0.1"},
        {"HTTP_HOST": "127.0.0.1:9000", "SERVER_PORT": "9000"},
        {"HTTP_X_FORWARDED_HOST": "127.0.0.1:9000", "HTTP_X_FORWARDED_PORT": "9000"},
    ],
)
@pytest.mark.parametrize("shows_socket", [True, False])
def test_nothing_that_a_request_says_makes_it_internal(
    app: Flask, connection: Connection, claimed: dict[str, str], shows_socket: bool
) -> None:
    """O4."""
    overrides: dict[str, Any] = {"HTTP_HOST": HOST, **claimed}
    if shows_socket:
        overrides["gunicorn.socket"] = connection.accepted
    answer = app.test_client().get("/metrics", environ_overrides=overrides)

    assert answer.status_code in (400, 404)
    assert b"bff_" not in answer.data


@pytest.mark.parametrize("path", ["/metrics", "/admin", "/admin/", "/admin/keys"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_what_is_for_operators_looks_like_a_path_that_does_not_exist(
    client: FlaskClient, method: str, path: str
) -> None:
    """O4: status, reason, header lines and body are the same, whatever the method."""
    hidden = client.open(path, method=method, headers={"X-Correlation-ID": "same"})
    missing = client.open("/nothing/here", method=method, headers={"X-Correlation-ID": "same"})

    assert hidden.status == missing.status == "404 Not Found"
    assert [*hidden.headers] == [*missing.headers]
    assert hidden.data == missing.data


def test_a_call_leaves_one_access_record(client: FlaskClient, captured: CapturedLines) -> None:
    client.get(
        f"/auth/fine?code={SECRET}&state={SECRET}",
        headers={"X-Forwarded-For": "203.0.113.9, 10.0.0.1"},
        environ_overrides={"REMOTE_ADDR": "10.0.0.2"},
    ).close()

    (record,) = captured.of("access")
    assert record["method"] == "GET"
    assert record["path"] == "/auth/fine"
    assert record["status"] == 200
    assert record["code"] == ""
    assert record["route_id"] == "fine"
    assert record["bytes_out"] == len("<p>fine</p>")
    assert record["client_address"] == "203.0.113.9"
    assert 0 < record["duration_ms"] < 60_000
    assert record["user_id"] is None
    assert SECRET not in captured.text


def test_a_forged_forwarded_for_names_nobody(client: FlaskClient, captured: CapturedLines) -> None:
    """H13."""
    client.get(
        "/health/live",
        headers={"X-Forwarded-For": "203.0.113.9"},
        environ_overrides={"REMOTE_ADDR": "198.51.100.7"},
    ).close()

    assert captured.of("access")[0]["client_address"] == "198.51.100.7"


def test_a_refusal_leaves_one_access_record_with_its_code(client: FlaskClient, captured: CapturedLines) -> None:
    client.get("/auth/denied").close()

    (record,) = captured.of("access")
    assert (record["status"], record["code"]) == (403, "access_denied")


def test_a_proxied_call_is_recorded_by_the_pipeline_alone(client: FlaskClient, captured: CapturedLines) -> None:
    client.get("/api/crud/forms").close()

    (record,) = captured.of("access")
    assert (record["route_id"], record["service"], record["code"]) == ("api-crud", "crud", "upstream_unreachable")


def read_metrics(app: Flask) -> dict[str, float]:
    _, body = app.extensions["bff"].metrics.render()
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_calls_and_refusals_are_counted(app: Flask, client: FlaskClient) -> None:
    for path in ("/auth/fine", "/auth/fine", "/auth/denied", "/metrics"):
        client.get(path).close()

    numbers = read_metrics(app)
    assert numbers["bff_calls_total GET fine 200"] == 2
    assert numbers["bff_calls_total GET denied 403"] == 1
    assert numbers["bff_refusals_total access_denied"] == 1
    assert numbers["bff_call_duration_seconds_count fine"] == 2
    assert numbers["bff_calls_in_progress"] == 0


@pytest.mark.parametrize("path", ["/auth/crash", "/auth/denied", "/auth/%66ine", "/nothing/here", "/api/crud/forms"])
def test_no_call_stays_in_progress(app: Flask, client: FlaskClient, path: str) -> None:
    client.get(path).close()

    assert read_metrics(app)["bff_calls_in_progress"] == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/auth/login", "GET, HEAD"),
        ("DELETE", "/auth/logout", "GET, HEAD, POST"),
        ("POST", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/health/live", "GET, HEAD"),
        ("OPTIONS", "/auth/login", "GET, HEAD"),
        ("GET", "/api/auth/session/refresh", "POST"),
        ("TRACE", "/api/auth/session", "GET, HEAD"),
    ],
)
def test_another_method_on_our_own_path_is_405(client: FlaskClient, method: str, path: str, allowed: str) -> None:
    """P16. OPTIONS is a call like any other."""
    answer = client.open(path, method=method)

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.headers["X-BFF-Error"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/auth/login/", "/health/", "/auth", "/auth/nothing", "/api/me/nothing"])
def test_a_path_near_ours_is_404_and_no_redirect(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")
    assert "Location" not in answer.headers


def test_a_form_reaches_the_view(client: FlaskClient) -> None:
    assert post_raw(client, io.BytesIO(b"a=1&rest"), CONTENT_LENGTH="3").json == {"a": "1"}
    assert client.post("/auth/form", data={"a": "1"}).json == {"a": "1"}


def post_raw(client: FlaskClient, body: object, **environ: Any) -> TestResponse:
    """Posts a form whose body and length are exactly these."""
    overrides = {"wsgi.input": body, "CONTENT_TYPE": "application/x-www-form-urlencoded", **environ}
    return client.post("/auth/form", environ_overrides=overrides)


def test_a_body_that_ends_early_is_refused(client: FlaskClient) -> None:
    answer = post_raw(client, io.BytesIO(b"a=1"), CONTENT_LENGTH="100")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "bad_request")


def test_a_body_beyond_any_form_is_refused(client: FlaskClient) -> None:
    answer = client.post("/auth/form", data={"a": "x" * 2_000_000})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (413, "body_too_large")


class InPieces(io.RawIOBase):
    """A body that arrives a few bytes at a time, and whose end only the server knows."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, 7) if size >= 0 else 7)


@pytest.mark.parametrize(
    "environ", [{"CONTENT_LENGTH": "1002"}, {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}]
)
def test_a_body_that_arrives_in_pieces_is_read_to_its_end(client: FlaskClient, environ: dict[str, Any]) -> None:
    body = InPieces(b"a=" + b"x" * 1000)

    assert post_raw(client, body, **{"wsgi.input_terminated": True}, **environ).json == {"a": "x" * 1000}


def test_a_chunked_body_beyond_any_form_is_refused(client: FlaskClient) -> None:
    body = io.BytesIO(b"a=" + b"x" * 2_000_000)
    answer = post_raw(
        client, body, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": True}
    )

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (413, "body_too_large")


class SlowBody(io.RawIOBase):
    """What a socket does when the client falls silent."""

    def read(self, size: int = -1) -> bytes:
        raise TimeoutError("timed out")


class BrokenBody(io.RawIOBase):
    """What gunicorn does for a malformed chunk."""

    def read(self, size: int = -1) -> bytes:
        raise LookupError("Invalid chunk size")


@pytest.mark.parametrize("body", [SlowBody(), BrokenBody()])
def test_a_body_that_cannot_be_read_is_the_clients_fault(client: FlaskClient, body: io.RawIOBase) -> None:
    answer = post_raw(client, body, CONTENT_LENGTH="100")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "bad_request")
