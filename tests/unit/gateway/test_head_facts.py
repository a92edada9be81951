"""What header lines say, before anything is refused for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import BadRequestError, CsrfFailedError, UnknownHostError
from app.gateway.head_facts import MOST_SHARED_LINES, HeadReader
from app.gateway.messages import ProxyRequest
from app.gateway.policy import GatewayPolicy
from tests.unit.core.builders import build_route
from tests.unit.settings.config_folder import ConfigFolder

HOST = ("Host", "app.example.com")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01"
STATE = ("tracestate", "a=1")
Lines = list[tuple[str, str]]


@pytest.fixture
def reader(tmp_path: Path) -> HeadReader:
    return HeadReader(GatewayPolicy.from_settings(ConfigFolder(tmp_path).load().settings))


def encode(reader: HeadReader, lines: Lines, *cookies: str) -> bytes:
    facts = reader.read(lines, "192.0.2.1")
    return reader.encode_shared_lines(facts, reader.require_origin(facts), frozenset(cookies))


@pytest.mark.parametrize(
    ("lines", "keeps_state"),
    [
        pytest.param([("traceparent", TRACE)], True, id="one"),
        pytest.param([("traceparent", TRACE), ("traceparent", OTHER_TRACE)], False, id="two"),
        pytest.param([("traceparent", TRACE), ("traceparent", "junk")], False, id="one-and-junk"),
        pytest.param([("traceparent", "junk"), ("traceparent", TRACE)], False, id="junk-and-one"),
        pytest.param([], False, id="none"),
    ],
)
def test_tracestate_goes_with_the_one_traceparent_it_came_with(
    reader: HeadReader, lines: Lines, keeps_state: bool
) -> None:
    assert (b"tracestate: a=1" in encode(reader, [HOST, *lines, STATE])) is keeps_state
    assert bool(reader.read([HOST, *lines], "192.0.2.1").traceparent) is keeps_state


def test_each_route_lets_its_own_cookies_through(reader: HeadReader) -> None:
    facts = reader.read([HOST, ("Cookie", "a=1; b=2; bff_session=x")], "192.0.2.1")
    origin = reader.require_origin(facts)
    for _ in range(2):
        for names in ([], ["a"], ["b"], ["a", "b"], ["c"], ["a", "c"]):
            encoded = reader.encode_shared_lines(facts, origin, frozenset(names))
            assert [b"a=1" in encoded, b"b=2" in encoded] == ["a" in names, "b" in names]
            assert b"bff_session" not in encoded
    assert len(facts.shared_lines) <= MOST_SHARED_LINES


def test_a_refusal_is_not_kept(reader: HeadReader) -> None:
    name = "__Host-Http-bff_session"
    facts = reader.read([("Host", "evil.example"), ("Cookie", f"{name}=a; {name}=b")], "192.0.2.1")
    for _ in range(2):
        with pytest.raises(UnknownHostError):
            reader.require_origin(facts)
        with pytest.raises(BadRequestError):
            reader.find_session_id(facts)


def test_where_a_call_may_come_from_depends_on_method_and_route(reader: HeadReader) -> None:
    page, script = build_route("/page", navigation=True), build_route("/script")
    lines = [HOST, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Site", "cross-site")]
    facts = reader.read(lines, "192.0.2.1")
    origin = reader.require_origin(facts)
    for _ in range(2):
        reader.check_cross_site(facts, "GET", origin, page)
        with pytest.raises(CsrfFailedError):
            reader.check_cross_site(facts, "GET", origin, script)
        with pytest.raises(CsrfFailedError):
            reader.check_cross_site(facts, "POST", origin, page)


def test_nothing_secret_is_shown(reader: HeadReader) -> None:
    lines = [HOST, ("Cookie", "bff_session=very-secret")]
    facts = reader.read(lines, "192.0.2.1")
    request = ProxyRequest("GET", "/a?code=very-secret", lines, None, "192.0.2.1", "http", facts=facts)
    assert "secret" not in f"{facts!r} {request!r}"
