"""Calls with bound tokens to a backend that checks every proof; the nonce dance, one thing wrong at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.core.errors import BadRequestError, ServiceTokenUnavailableError
from app.services.bound_calls import BoundCalls
from app.services.dpop_key import BoundToken, generate_dpop_key
from app.services.replayable_body import MAX_KEPT_BYTES, ReplayableBody
from app.services.upstream_client import UpstreamClient, UpstreamRequest
from tests.support.dpop_backend import DpopBackend
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, Script, answering, find_closed_port
from tests.unit.services.upstream.calls import PiecesBody, build_service, post

NOW = 1_700_000_000.0
TOKEN = BoundToken("the-access-token", generate_dpop_key())
GET = UpstreamRequest("GET", "/v1/forms?page=2", [("X-User-ID", "alice")])


class Caller:
    """One worker's calls to one backend."""

    def __init__(self, *base_urls: str) -> None:
        self.service = build_service(*base_urls)
        self.client = UpstreamClient({self.service.name: self.service})
        self.calls = BoundCalls(self.client, lambda: NOW)

    def fetch(self, request: UpstreamRequest = GET) -> int:
        response = self.calls.open(self.service, request, TOKEN)
        try:
            for _ in response.iter_body():
                pass
            return response.status
        finally:
            response.close()


@contextmanager
def calling(backend: DpopBackend) -> Iterator[tuple[Caller, RawBackend]]:
    backend.now = NOW
    with backend.serve() as raw:
        caller = Caller(raw.url)
        try:
            yield caller, raw
        finally:
            caller.client.close()


def test_a_call_carries_the_token_and_a_proof_for_what_is_really_called() -> None:
    backend = DpopBackend()
    with calling(backend) as (caller, raw):
        assert caller.fetch() == 200
        assert raw.requests[0].get_all("X-User-ID") == [b"alice"]
    (proof,) = backend.accepted
    assert (proof["htm"], proof["htu"]) == ("GET", f"{backend.url}/v1/forms")
    assert (proof["token"], proof["jkt"]) == ("the-access-token", TOKEN.key.thumbprint)


def test_every_call_has_a_proof_of_its_own() -> None:
    backend = DpopBackend()
    with calling(backend) as (caller, _):
        assert [caller.fetch() for _ in range(3)] == [200, 200, 200]
    assert len({proof["jti"] for proof in backend.accepted}) == 3


def test_a_nonce_that_is_asked_for_is_given_with_one_more_call_and_then_with_every_first() -> None:
    backend = DpopBackend(nonce="n-1")
    with calling(backend) as (caller, raw):
        assert [caller.fetch(), caller.fetch()] == [200, 200]
        assert len(raw.requests) == 3
    assert backend.refusals == ["use_dpop_nonce"]
    assert [proof["nonce"] for proof in backend.accepted] == ["n-1", "n-1"]


def test_a_nonce_that_comes_with_a_good_answer_is_used_from_then_on() -> None:
    backend = DpopBackend(nonce="n-1", next_nonce="n-2")
    with calling(backend) as (caller, _):
        assert [caller.fetch(), caller.fetch()] == [200, 200]
    assert [proof["nonce"] for proof in backend.accepted] == ["n-1", "n-2"]
    assert backend.refusals == ["use_dpop_nonce"]


def test_nonces_of_two_backends_are_kept_apart() -> None:
    first, second = DpopBackend(nonce="of-the-first", now=NOW), DpopBackend(nonce="of-the-second", now=NOW)
    with first.serve() as one, second.serve() as other:
        caller = Caller(one.url)
        elsewhere = dataclasses.replace(caller.service, name="other", base_urls=(other.url,))
        client = UpstreamClient({caller.service.name: caller.service, "other": elsewhere})
        calls = BoundCalls(client, lambda: NOW)
        for service in (caller.service, elsewhere, caller.service, elsewhere):
            calls.open(service, GET, TOKEN).close()
        client.close()
    assert [proof["nonce"] for proof in first.accepted] == ["of-the-first"] * 2
    assert [proof["nonce"] for proof in second.accepted] == ["of-the-second"] * 2


def test_a_second_base_url_gets_a_proof_for_itself() -> None:
    backend = DpopBackend(now=NOW)
    with backend.serve() as raw:
        caller = Caller(f"http://127.0.0.1:{find_closed_port()}", raw.url)
        assert caller.fetch() == 200
        caller.client.close()
    assert backend.accepted[0]["htu"] == f"{backend.url}/v1/forms"


def test_a_repeated_attempt_has_a_new_proof() -> None:
    """A kept connection that the backend had closed: the request may have been seen."""
    backend = DpopBackend(now=NOW)

    def answer_once_then_close(conversation: Conversation) -> None:
        conversation.send(backend.answer(conversation.read_request()))
        conversation.read_head()

    with RawBackend(answer_once_then_close) as raw:
        backend.url = raw.url
        caller = Caller(raw.url)
        assert [caller.fetch(), caller.fetch()] == [200, 200]
        sent = [line for line in raw.recorded.split(b"\r\n") if line.startswith(b"DPoP: ")]
        caller.client.close()
    assert len(sent) == len(set(sent)) == 3


# Bodies


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [2, MAX_KEPT_BYTES])
def test_a_body_of_64_kib_is_sent_again(size: int, is_chunked: bool) -> None:
    backend = DpopBackend(nonce="n-1")
    body = bytes(range(256)) * (size // 256 + 1)
    with calling(backend) as (caller, raw):
        assert caller.fetch(post(body[: size // 2], body[size // 2 : size], is_chunked=is_chunked)) == 200
        assert [request.body for request in raw.requests] == [body[:size]] * 2


def test_a_longer_body_is_not_sent_again_and_the_next_call_passes() -> None:
    backend = DpopBackend(nonce="n-1")
    with calling(backend) as (caller, raw):
        with pytest.raises(ServiceTokenUnavailableError) as caught:
            caller.fetch(post(b"x" * (MAX_KEPT_BYTES + 1)))
        assert len(raw.requests) == 1
        assert caller.fetch(post(b"x" * (MAX_KEPT_BYTES + 1))) == 200
    assert "nonce" in caught.value.internal_reason


def test_a_body_that_breaks_off_is_told_as_such() -> None:
    with calling(DpopBackend(nonce="n-1")) as (caller, _), pytest.raises(BadRequestError):
        caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody([b"abc"], length=10)))


def test_a_body_is_passed_on_piece_by_piece_and_again_from_its_beginning() -> None:
    body = ReplayableBody(PiecesBody([b"abc", b"def"], length=6))
    assert [body.read(2), body.read(2)] == [b"ab", b"c"]
    assert body.rewind()
    assert [body.read(100), body.read(100), body.read(100)] == [b"abc", b"def", b""]
    assert body.length == 6


def test_a_body_can_be_sent_again_more_than_once() -> None:
    body = ReplayableBody(PiecesBody([b"abc"], length=3))
    for _ in range(3):
        assert body.read(2) + body.read(2) == b"abc"
        assert body.rewind()


def test_a_body_is_not_kept_once_it_is_too_long() -> None:
    body = ReplayableBody(PiecesBody([b"a" * MAX_KEPT_BYTES, b"b", b"c"]))
    assert [len(body.read(MAX_KEPT_BYTES)), body.read(1)] == [MAX_KEPT_BYTES, b"b"]
    assert not body.rewind()
    assert body.read(1) == b"c"


# A backend that does it wrong

CHALLENGE = b'WWW-Authenticate: DPoP error="use_dpop_nonce"\r\n'
NONCE = b"DPoP-Nonce: n-1\r\n"


def build_answer(*lines: bytes, status: bytes = b"401 Unauthorized") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n" + b"".join(lines) + b"\r\n"


def count_calls(script: Script) -> tuple[int | str, int]:
    """Returns what came of one call, a status or a refusal's code, and how many requests it took."""
    with RawBackend(script) as raw:
        caller = Caller(raw.url)
        try:
            return caller.fetch(), len(raw.requests)
        except ServiceTokenUnavailableError as error:
            return error.code, len(raw.requests)
        finally:
            caller.client.close()


@pytest.mark.parametrize(
    ("lines", "calls"),
    [
        pytest.param([CHALLENGE], 1, id="no-nonce"),
        pytest.param([CHALLENGE, b"DPoP-Nonce: \r\n"], 1, id="empty-nonce"),
        pytest.param([CHALLENGE, b"DPoP-Nonce: n 1\r\n"], 1, id="nonce-with-space"),
        pytest.param([CHALLENGE, b'DPoP-Nonce: n"1\r\n'], 1, id="nonce-with-quote"),
        pytest.param([CHALLENGE, b"DPoP-Nonce: \xe4\r\n"], 1, id="nonce-not-ascii"),
        pytest.param([CHALLENGE, NONCE, NONCE], 1, id="two-nonces"),
        pytest.param([CHALLENGE, b"DPoP-Nonce: " + b"n" * 10_240 + b"\r\n"], 1, id="10-kib-nonce"),
        pytest.param([CHALLENGE, NONCE], 2, id="endless-challenges"),
    ],
)
def test_a_challenge_that_cannot_be_answered_is_not_the_users_401(lines: list[bytes], calls: int) -> None:
    answer = build_answer(*lines)
    assert count_calls(answering(answer, answer, answer)) == ("service_token_unavailable", calls)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(build_answer(NONCE), 401, id="no-challenge"),
        pytest.param(build_answer(NONCE, b'WWW-Authenticate: DPoP error="invalid_token"\r\n'), 401, id="another-error"),
        pytest.param(build_answer(NONCE, b'WWW-Authenticate: Bearer error="use_dpop_nonce"\r\n'), 401, id="bearer"),
        pytest.param(build_answer(NONCE, CHALLENGE, status=b"400 Bad Request"), 400, id="status-400"),
        pytest.param(build_answer(NONCE, CHALLENGE, status=b"200 OK"), 200, id="status-200"),
    ],
)
def test_any_other_answer_is_the_backends_own(answer: bytes, status: int) -> None:
    assert count_calls(answering(answer, OK_ANSWER)) == (status, 1)


def test_a_challenge_that_comes_before_the_body_was_read_is_answered_with_the_whole_body() -> None:
    """RFC 9112 §9.5: a backend may answer early and close."""
    body = b"x" * 40_000
    bodies: list[bytes] = []

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        if len(raw.recordings) == 1:
            conversation.send(build_answer(CHALLENGE, NONCE, b"Connection: close\r\n"))
            conversation.wait_for_end()
            return
        received = b""
        while len(received) < len(body):
            received += conversation.receive()
        bodies.append(received)
        conversation.send(OK_ANSWER)

    with RawBackend(script) as raw:
        caller = Caller(raw.url)
        assert caller.fetch(post(body)) == 200
        caller.client.close()
    assert bodies == [body]
