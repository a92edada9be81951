"""The files of an application on a host of ours: what is served, with what, and what never is."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.unit.hooks.conftest import PublicClient
from tests.unit.hooks.small_app import HOST, build_app
from tests.unit.observability.captured_lines import CapturedLines

INDEX = "<!doctype html><title>the application</title>"
SCRIPT = "console.log('a script of some length')"
HASHED = "/assets/index-Bx3_Yz12.js"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin", "Accept": "*/*"}
OTHER = "https://other.example.com"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("frontends") / "dist"
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text(INDEX, encoding="utf-8")
    (directory / HASHED[1:]).write_text(SCRIPT, encoding="utf-8")
    (directory / ".env").write_text("SECRET=1", encoding="utf-8")
    (directory.parent / "secret.txt").write_text("outside", encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def frontend_app(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Flask:
    """One application for all tests here: what they change are files of their own."""
    sections = {"frontends": [{"host": HOST, "directory": str(dist)}]}
    return build_app(tmp_path_factory.mktemp("bff"), sections=sections, allowed_hosts=[OTHER])


@pytest.fixture
def client(frontend_app: Flask, captured: CapturedLines) -> FlaskClient:
    frontend_app.test_client_class = PublicClient
    return frontend_app.test_client()


def get(client: FlaskClient, path: str, headers: Mapping[str, str] = FETCH, **more: str) -> TestResponse:
    """A read of the very path, whatever is odd about it; `more` headers are named with underscores."""
    added = {name.replace("_", "-"): value for name, value in more.items()}
    overrides = {"RAW_URI": path, "REQUEST_URI": path}
    return client.get("/", headers={**headers, **added}, environ_overrides=overrides, buffered=True)


def is_not_served(answer: TestResponse) -> bool:
    return answer.headers.get("X-BFF-Error") in {"route_not_found", "ambiguous_path", "bad_request"}


def test_the_index_is_asked_for_each_time_and_an_asset_kept_for_ever(client: FlaskClient) -> None:
    index, asset = get(client, "/", NAVIGATION), get(client, HASHED)
    assert (index.status_code, index.text, index.headers["Cache-Control"]) == (200, INDEX, "no-cache")
    assert (asset.status_code, asset.text) == (200, SCRIPT)
    assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert asset.headers["Content-Type"] == "text/javascript; charset=utf-8"


def test_every_answer_carries_a_strict_policy(client: FlaskClient) -> None:
    for answer in (get(client, "/", NAVIGATION), get(client, HASHED)):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Set-Cookie" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_policy_of_ones_own_takes_the_place_of_ours(tmp_path: Path, dist: Path) -> None:
    entry = {"host": HOST, "directory": str(dist), "content_security_policy": "default-src 'none'"}
    app = build_app(tmp_path, sections={"frontends": [entry]})
    app.test_client_class = PublicClient
    assert get(app.test_client(), "/", NAVIGATION).headers["Content-Security-Policy"] == "default-src 'none'"


def test_a_navigation_to_an_address_of_the_application_gets_the_index(client: FlaskClient) -> None:
    for headers in (NAVIGATION, {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}):
        answer = get(client, "/forms/alice-1?tab=2", headers)
        assert (answer.status_code, answer.text) == (200, INDEX)


@pytest.mark.parametrize("path", ["/forms/alice-1", "/assets/gone-12345678.js", "/favicon.ico"])
def test_a_script_that_asks_for_what_is_not_there_gets_a_404_and_no_page(client: FlaskClient, path: str) -> None:
    answer = get(client, path)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["/api/nowhere", "/api", "/auth/nowhere", "/access/v1/nowhere", "/.well-known/nowhere", "/health/x", "/admin/x"],
)
@pytest.mark.parametrize("headers", [NAVIGATION, FETCH], ids=["navigation", "fetch"])
def test_a_mistyped_path_of_ours_stays_a_404(client: FlaskClient, path: str, headers: Mapping[str, str]) -> None:
    answer = get(client, path, headers)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_reads_are_answered(client: FlaskClient, method: str) -> None:
    overrides = {"RAW_URI": "/", "REQUEST_URI": "/"}
    answer = client.open("/", method=method, environ_overrides=overrides)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")


def test_routes_and_endpoints_of_ours_win_over_files(client: FlaskClient, dist: Path) -> None:
    for path in ("api/crud", "health", "auth"):
        (dist / path).mkdir(parents=True)
    for path in ("api/crud/x", "health/live", "auth/login"):
        (dist / path).write_text("a file that shadows", encoding="utf-8")
    assert get(client, "/api/crud/x").headers["X-BFF-Error"] == "upstream_unreachable"
    assert "shadows" not in client.get("/health/live").text
    assert "shadows" not in client.get("/auth/login").text


def test_another_host_of_ours_has_no_application_and_a_foreign_one_no_answer(client: FlaskClient) -> None:
    assert client.get("/index.html", base_url=OTHER).headers["X-BFF-Error"] == "route_not_found"
    foreign = client.get("/index.html", base_url="https://evil.example")
    assert (foreign.status_code, foreign.headers["X-BFF-Error"]) == (400, "unknown_host")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/../secret.txt", id="P4-plain"),
        pytest.param("/assets/../../secret.txt", id="P4-below"),
        pytest.param("/%2e%2e/secret.txt", id="P4-encoded"),
        pytest.param("/.%2e/secret.txt", id="P4-half-encoded"),
        pytest.param("/%69ndex.html", id="P5-second-spelling"),
        pytest.param("/..%2fsecret.txt", id="P6-encoded-slash"),
        pytest.param("/%252e%252e/secret.txt", id="P7-double-encoding"),
        pytest.param("//index.html", id="P8-repeated-slash"),
        pytest.param("/..\\secret.txt", id="P9-backslash"),
        pytest.param("/..%5csecret.txt", id="P9-encoded-backslash"),
        pytest.param("/index.html;/../../secret.txt", id="P10-matrix-parameter"),
        pytest.param("/./index.html", id="P11-dot"),
        pytest.param("/index.html/.", id="P11-trailing-dot"),
        pytest.param("/INDEX.HTML", id="P12-capitals"),
        pytest.param("/index.html%00.js", id="P13-nul"),
        pytest.param("/%ff", id="P13-bad-utf-8"),
        pytest.param("http://app.example.com/index.html", id="P18-absolute-form"),
        pytest.param("*", id="P19-asterisk"),
        pytest.param("/.env", id="dotfile"),
        pytest.param("/assets", id="a-folder"),
        pytest.param("/assets/", id="a-folder-without-an-index"),
        pytest.param("/index.html/x", id="below-a-file"),
        pytest.param("/" + "a" * 300, id="a-name-longer-than-any-file"),
    ],
)
def test_no_path_leads_out_of_the_folder_or_to_a_hidden_file(client: FlaskClient, path: str) -> None:
    answer = get(client, path)
    assert is_not_served(answer)
    assert "outside" not in answer.text


def test_a_link_out_of_the_folder_is_not_followed_and_one_within_is(client: FlaskClient, dist: Path) -> None:
    (dist / "out.txt").symlink_to(dist.parent / "secret.txt")
    (dist / "outer").symlink_to(dist.parent)
    (dist / "in.txt").symlink_to("index.html")
    assert is_not_served(get(client, "/out.txt"))
    assert is_not_served(get(client, "/outer/secret.txt"))
    assert get(client, "/in.txt").text == INDEX


def test_what_is_no_regular_file_is_not_waited_for(client: FlaskClient, dist: Path) -> None:
    os.mkfifo(dist / "pipe.txt")
    assert is_not_served(get(client, "/pipe.txt"))


def test_a_tag_that_is_still_right_saves_the_body(client: FlaskClient) -> None:
    tag = get(client, "/", NAVIGATION).headers["ETag"]
    for value in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = get(client, "/", NAVIGATION, If_None_Match=value)
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == tag
        assert answer.headers["Cache-Control"] == "no-cache"
    assert get(client, "/", NAVIGATION, If_None_Match='"other"').status_code == 200


def test_a_new_build_is_seen_at_once_even_with_the_same_size_and_time(client: FlaskClient, dist: Path) -> None:
    first = get(client, "/", NAVIGATION)
    before = (dist / "index.html").stat()
    (dist / "index.html").write_text(INDEX.replace("the", "one"), encoding="utf-8")
    os.utime(dist / "index.html", ns=(before.st_atime_ns, before.st_mtime_ns))
    second = get(client, "/", NAVIGATION, If_None_Match=first.headers["ETag"])
    (dist / "index.html").write_text(INDEX, encoding="utf-8")
    assert (second.status_code, second.text) == (200, INDEX.replace("the", "one"))


def test_the_head_of_a_file_is_that_of_its_answer(client: FlaskClient) -> None:
    whole = get(client, HASHED)
    head = client.head(HASHED, headers=FETCH, buffered=True)
    assert (head.status_code, head.data) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Cache-Control"):
        assert head.headers[name] == whole.headers[name]
    assert int(head.headers["Content-Length"]) == len(SCRIPT)


@pytest.mark.parametrize(
    ("value", "status", "body", "content_range"),
    [
        ("bytes=0-6", 206, SCRIPT[:7], f"bytes 0-6/{len(SCRIPT)}"),
        ("bytes=8-", 206, SCRIPT[8:], f"bytes 8-{len(SCRIPT) - 1}/{len(SCRIPT)}"),
        ("bytes=-4", 206, SCRIPT[-4:], f"bytes {len(SCRIPT) - 4}-{len(SCRIPT) - 1}/{len(SCRIPT)}"),
        ("bytes=0-9999", 206, SCRIPT, f"bytes 0-{len(SCRIPT) - 1}/{len(SCRIPT)}"),
        ("bytes=9999-", 416, "", f"bytes */{len(SCRIPT)}"),
        ("bytes=0-1,3-4", 200, SCRIPT, None),
        ("bytes=5-1", 200, SCRIPT, None),
        ("pages=1-2", 200, SCRIPT, None),
        ("bytes=" + "9" * 5000 + "-", 200, SCRIPT, None),
    ],
)
def test_one_range_is_answered_and_other_wishes_are_ignored(
    client: FlaskClient, value: str, status: int, body: str, content_range: str | None
) -> None:
    answer = get(client, HASHED, Range=value)
    assert (answer.status_code, answer.text, answer.headers.get("Content-Range")) == (status, body, content_range)
    assert int(answer.headers["Content-Length"]) == len(body)


def test_a_range_of_a_file_that_has_changed_is_answered_whole(client: FlaskClient) -> None:
    tag = get(client, HASHED).headers["ETag"]
    assert get(client, HASHED, Range="bytes=0-1", If_Range=tag).status_code == 206
    assert get(client, HASHED, Range="bytes=0-1", If_Range='"other"').status_code == 200


def test_a_compressed_twin_is_sent_to_who_takes_it(client: FlaskClient, dist: Path) -> None:
    (dist / "packed.js").write_text(SCRIPT, encoding="utf-8")
    (dist / "packed.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (dist / "packed.js.br").write_bytes(b"stands for brotli")
    packed = get(client, "/packed.js", Accept_Encoding="gzip, deflate")
    assert (packed.headers["Content-Encoding"], gzip.decompress(packed.data).decode()) == ("gzip", SCRIPT)
    assert packed.headers["Content-Type"] == "text/javascript; charset=utf-8"
    best = get(client, "/packed.js", Accept_Encoding="gzip, br")
    assert (best.headers["Content-Encoding"], best.data) == ("br", b"stands for brotli")
    for accepted in ("", "gzip;q=0, br;q=0", "identity"):
        plain = get(client, "/packed.js", Accept_Encoding=accepted)
        assert (plain.headers.get("Content-Encoding"), plain.text) == (None, SCRIPT)
        assert plain.headers["Vary"] == "Accept-Encoding"
    assert len({answer.headers["ETag"] for answer in (packed, best, plain)}) == 3
    assert get(client, "/packed.js", Range="bytes=0-1", Accept_Encoding="gzip").text == SCRIPT[:2]


def test_the_access_record_names_no_file_as_a_route(client: FlaskClient, captured: CapturedLines) -> None:
    get(client, HASHED)
    [line] = [line for line in captured.records if line.get("path") == HASHED]
    assert (line["route_id"], line["status"], line["bytes_out"]) == ("frontend", 200, len(SCRIPT))
