"""Who calls too often is told so, and when to come back; over both doors."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import cycle

import pytest

from tests.support.doors import DOORS
from tests.support.gateway import Answer, Gateway, echo, parse_answer, put_session, start_gateway
from tests.support.raw_backend import RawBackend

pytestmark = pytest.mark.live

EDGE = "127.0.0.1"
"""The one peer whose `X-Forwarded-For` is believed."""
PER_ADDRESS = 3
CALLS = 9
LIMITED = range(PER_ADDRESS, 2 * PER_ADDRESS + 1)
"""How many of `CALLS` may pass: a day may begin in between."""


def test_a_session_that_calls_too_often_gets_429_and_another_does_not(gateway: Gateway) -> None:
    answers = [gateway.call("GET", "/limited/x") for _ in range(5)]
    refused = [answer for answer in answers if answer.status == 429]
    assert 2 <= len(refused) <= 3, "an hour may have begun in between"
    assert {answer.code for answer in refused} == {"rate_limited"}
    assert all(0 < int(answer.get("Retry-After") or 0) <= 3600 for answer in refused)
    assert len(gateway.take_requests()) == 5 - len(refused)
    assert gateway.call("GET", "/v1/x", is_logged_in=True).status != 429
    _, other = put_session(gateway.bff)
    assert gateway.call("GET", "/limited/x", f"Cookie: bff_session={other}", is_logged_in=False).status == 200


@pytest.fixture(scope="module", params=DOORS)
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that limits each address. Whoever a test calls as is used by no other test."""
    settings = {"limits": {"per_address": f"{PER_ADDRESS}/day"}, "server": {"trusted_proxies": [f"{EDGE}/32"]}}
    with RawBackend(echo) as backend:
        bff = start_gateway(tmp_path_factory.mktemp("narrow"), backend, settings=settings, door=request.param)
        try:
            sessions, session_id = put_session(bff)
            yield Gateway(bff, backend, session_id, sessions, door=request.param)
        finally:
            bff.stop()


def call_from(gateway: Gateway, peer: str, forwarded_for: str, target: str) -> Answer:
    """One call over a connection that comes from `peer`, which is any address of the loopback network."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {gateway.host}", "Connection: close", f"Cookie: {gateway.cookie}"]
    lines += [f"X-Forwarded-For: {forwarded_for}"] if forwarded_for else []
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20, source_address=(peer, 0)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        while piece := connection.recv(65536):
            received += piece
    return parse_answer(received)


def count_passed(gateway: Gateway, peer: str, forwarded_for: Iterable[str]) -> int:
    """Makes a call for each of `forwarded_for`, on three routes in turn: it reaches the backend, or is refused."""
    gateway.take_requests()
    targets = cycle(["/public/x", "/api/crud/x", "/odd/x"])
    answers = [call_from(gateway, peer, line, target) for line, target in zip(forwarded_for, targets, strict=False)]
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(passed) + len(refused) == len(answers)
    assert {answer.code for answer in refused} <= {"rate_limited"}
    assert all(0 < int(answer.get("Retry-After") or 0) <= 86400 for answer in refused)
    assert len(gateway.take_requests()) == len(passed)
    return len(passed)


def test_an_address_is_limited_over_all_routes_and_another_is_not(narrow: Gateway) -> None:
    assert count_passed(narrow, "127.0.0.2", [""] * CALLS) in LIMITED
    assert count_passed(narrow, "127.0.0.3", [""] * PER_ADDRESS) == PER_ADDRESS


def test_behind_an_edge_it_is_the_address_that_the_edge_tells(narrow: Gateway) -> None:
    assert count_passed(narrow, EDGE, ["203.0.113.7"] * CALLS) in LIMITED
    assert count_passed(narrow, EDGE, ["203.0.113.8"] * PER_ADDRESS) == PER_ADDRESS


def test_h13_behind_an_edge_nobody_is_another_by_saying_so(narrow: Gateway) -> None:
    """What the client wrote itself stands to the left of what the edge has added."""
    assert count_passed(narrow, EDGE, [f"198.51.100.{number}, 203.0.113.9" for number in range(CALLS)]) in LIMITED


def test_h13_without_an_edge_nobody_is_another_by_saying_so(narrow: Gateway) -> None:
    assert count_passed(narrow, "127.0.0.4", [f"198.51.100.{number}" for number in range(CALLS)]) in LIMITED


def test_the_addresses_of_one_ipv6_network_are_one(narrow: Gateway) -> None:
    assert count_passed(narrow, EDGE, [f"2001:db8:0:1::{number}" for number in range(CALLS)]) in LIMITED
    assert count_passed(narrow, EDGE, ["2001:db8:0:2::1"] * PER_ADDRESS) == PER_ADDRESS
