"""What the backend gets is what was asked for, byte for byte, and framed by us alone."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from app.core.errors import BadRequestError, UpstreamBadResponseError, UpstreamTimeoutError
from app.services.upstream_client import UpstreamRequest
from tests.support.raw_backend import OK_ANSWER, WAIT_SECONDS, Conversation, RawBackend, Script, answering_always
from tests.unit.services.upstream.calls import PiecesBody, calling, post

MEBIBYTE = 1048576


def test_a_request_reaches_the_backend_byte_for_byte() -> None:
    request = UpstreamRequest("GET", "/a%2Fb;c?d=%00&e=\xe4", [("X-Name", "J\xfcrgen"), ("x-name", "2")])
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        assert caller.fetch(request) == (200, b"ok")
        assert backend.recorded == (
            b"GET /a%%2Fb;c?d=%%00&e=\xe4 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Name: J\xfcrgen\r\nx-name: 2\r\n\r\n"
            % backend.port
        )


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", None, []),
        ("DELETE", None, []),
        ("POST", None, [b"0"]),
        ("PUT", None, [b"0"]),
        ("PATCH", None, [b"0"]),
        ("DELETE", PiecesBody([], 0), [b"0"]),
        ("POST", PiecesBody([], 0), [b"0"]),
    ],
)
def test_a_request_without_a_body_says_so_where_one_is_expected(
    method: str, body: PiecesBody | None, framing: list[bytes]
) -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        caller.fetch(UpstreamRequest(method, "/", [], body))
        assert backend.requests[0].get_all("Content-Length") == framing
        assert backend.requests[0].get_all("Transfer-Encoding") == []


def test_a_body_of_known_length_is_sent_with_it() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        caller.fetch(post(b"hello ", b"world"))
        assert backend.requests[0].body == b"hello world"
        assert backend.requests[0].get_all("Content-Length") == [b"11"]
        assert backend.recorded.endswith(b"\r\n\r\nhello world")


def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        caller.fetch(post(b"hello ", b"world", is_chunked=True))
        caller.fetch(post(is_chunked=True))
        assert [request.body for request in backend.requests] == [b"hello world", b""]
        assert backend.requests[0].get_all("Transfer-Encoding") == [b"chunked"]
        assert backend.requests[0].get_all("Content-Length") == []
        assert backend.connection_count == 1


def test_expect_and_a_callers_own_framing_are_not_passed_on() -> None:
    lines = [("Expect", "100-continue"), ("Content-Length", "0"), ("Transfer-Encoding", "x"), ("Host", "evil.example")]
    body = PiecesBody([b"hello"], 5)
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        caller.fetch(UpstreamRequest("POST", "/", lines, body))
        assert backend.requests[0].header_lines == [b"Host: 127.0.0.1:%d" % backend.port, b"Content-Length: 5"]


@pytest.mark.parametrize(
    "request_",
    [
        UpstreamRequest("GET", "/a\r\nX: y", []),
        UpstreamRequest("GET", "/", [("A", "b\nc")]),
        UpstreamRequest("GET", "/", [("A\0", "b")]),
        UpstreamRequest("CONNECT", "/", []),
    ],
    ids=["P25-target", "P25-value", "P13-name", "P16-connect"],
)
def test_what_cannot_be_written_safely_reaches_no_backend(request_: UpstreamRequest) -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        with pytest.raises(BadRequestError):
            caller.fetch(request_)
        assert backend.recorded == b""


def test_neither_proxies_nor_netrc_nor_cookies_play_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """H16."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    with RawBackend(answering_always(answer)) as backend, calling(backend) as caller:
        caller.fetch()
        caller.fetch()
        assert [request.header_lines for request in backend.requests] == [[b"Host: 127.0.0.1:%d" % backend.port]] * 2


class FailingBody:
    """Gives some bytes, then fails as the client's side does when the client is gone."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self._reads = 0

    def read(self, max_bytes: int) -> bytes:
        self._reads += 1
        if self._reads > 2:
            raise ConnectionResetError("the client is gone")
        return b"abc"


@pytest.mark.parametrize("length", [10, None], ids=["length", "chunked"])
def test_a_client_that_goes_away_breaks_the_request_off(length: int | None) -> None:
    """The backend must not take the part for the whole, and the failure is not the backend's."""
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend, breaker_failures=1) as caller:
        with pytest.raises(ConnectionResetError):
            caller.fetch(UpstreamRequest("POST", "/", [], FailingBody(length)))
        assert caller.fetch() == (200, b"ok")
        assert backend.connection_count == 2
        assert [request.request_line for request in backend.requests] == [b"GET / HTTP/1.1"]


@pytest.mark.parametrize("pieces", [[], [b"abc"]], ids=["nothing", "part"])
def test_a_body_shorter_than_declared_is_refused(pieces: list[bytes]) -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        with pytest.raises(BadRequestError):
            caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody(pieces, 10)))
        assert backend.requests == []


def test_no_more_is_read_from_a_body_than_declared() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody([b"abcGET /evil HTTP/1.1\r\n\r\n"], 3)))
        assert backend.recorded.endswith(b"\r\n\r\nabc")


def repeat(piece: bytes, times: int) -> Iterator[bytes]:
    for _ in range(times):
        yield piece


def count_upload(conversation: Conversation) -> None:
    """Answers with how many bytes came, having kept none of them."""
    head = conversation.read_head()
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    buffer = bytearray(65536)
    length = int(lines.get(b"Content-Length", b"0"))
    count = len(conversation.receive_unread())
    tail = b""
    while count < length or (not length and not tail.endswith(b"0\r\n\r\n")):
        received = conversation.socket.recv_into(buffer)
        count += received
        tail = (tail + bytes(buffer[max(0, received - 5) : received]))[-5:]
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(count)), count))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_large_upload_streams_in_bounded_memory(is_chunked: bool) -> None:
    """B5: 50 MiB pass, and no more than a few are ever held."""
    request = UpstreamRequest(
        "POST", "/", [], PiecesBody(repeat(b"x" * MEBIBYTE, 50), None if is_chunked else 50 * MEBIBYTE)
    )
    with RawBackend(count_upload) as backend, calling(backend) as caller:
        tracemalloc.start()
        try:
            status, counted = caller.fetch(request)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert status == 200
        assert int(counted) >= 50 * MEBIBYTE
        assert peak_bytes < 8 * MEBIBYTE


REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


def refuse_and_close(conversation: Conversation) -> None:
    conversation.read_head()
    conversation.send(REFUSAL)


def refuse_and_reset(conversation: Conversation) -> None:
    """Unread bytes in the backend's buffer turn its close into a reset."""
    conversation.read_head()
    conversation.send(REFUSAL)
    conversation.socket.recv(1)
    conversation.reset()


def refuse_and_stall(conversation: Conversation) -> None:
    """Says no, stops reading, and keeps the connection open for as long as the client does."""
    conversation.read_head()
    conversation.send(REFUSAL)
    conversation.stop_reading()


def refuse_and_keep_reading(conversation: Conversation) -> None:
    conversation.read_head()
    conversation.send(REFUSAL)
    while conversation.socket.recv(MEBIBYTE):
        pass


@pytest.mark.parametrize("script", [refuse_and_keep_reading, refuse_and_close, refuse_and_reset, refuse_and_stall])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_an_early_refusal_ends_the_upload(script: Script, is_chunked: bool) -> None:
    body = PiecesBody(repeat(b"x" * MEBIBYTE, 1000), None if is_chunked else 1000 * MEBIBYTE)
    with RawBackend(script) as backend, calling(backend) as caller:
        response = caller.open(UpstreamRequest("POST", "/", [], body))
        assert response.status == 413
        assert b"".join(response.iter_body()) == b"big"
        response.close()
        assert body.read(1) == b"x"  # the rest was never asked for
        assert caller.client.count_connections(caller.service) == 0


def test_an_early_refusal_is_noticed_although_the_backend_takes_all_it_is_sent() -> None:
    """Between two pieces, too, not only when a piece cannot be sent."""
    is_refused = threading.Event()
    pieces_read = []

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(REFUSAL)
        is_refused.set()
        conversation.wait_for_end()

    def give_pieces() -> Iterator[bytes]:
        for number in range(5):
            pieces_read.append(number)
            yield b"x"
            assert is_refused.wait(WAIT_SECONDS)

    with RawBackend(script) as backend, calling(backend) as caller:
        assert caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody(give_pieces(), 5))) == (413, b"big")
        assert pieces_read == [0, 1]


def test_an_early_success_does_not_end_the_upload() -> None:
    """A backend may begin to answer while it still reads; the answer is passed on once the upload is through."""

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        count = 0
        while count < 20 * MEBIBYTE:
            count += len(conversation.receive())
        conversation.send(b"4\r\ndone\r\n0\r\n\r\n")
        conversation.wait_for_end()

    request = UpstreamRequest("PUT", "/", [], PiecesBody(repeat(b"x" * MEBIBYTE, 20), 20 * MEBIBYTE))
    with RawBackend(script) as backend, calling(backend) as caller:
        assert caller.fetch(request) == (200, b"done")


def test_an_interim_answer_does_not_end_the_upload() -> None:
    def script(conversation: Conversation) -> None:
        head = conversation.read_head()
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert b"Content-Length: 5242880" in head
        count = 0
        while count < 5 * MEBIBYTE:
            count += len(conversation.receive())
        conversation.send(OK_ANSWER)

    request = UpstreamRequest("PUT", "/", [], PiecesBody(repeat(b"x" * MEBIBYTE, 5), 5 * MEBIBYTE))
    with RawBackend(script) as backend, calling(backend) as caller:
        assert caller.fetch(request) == (200, b"ok")


def test_a_backend_that_stops_reading_is_a_timeout() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.stop_reading()

    request = UpstreamRequest("PUT", "/", [], PiecesBody(repeat(b"x" * MEBIBYTE, 100), 100 * MEBIBYTE))
    with (
        RawBackend(script) as backend,
        calling(backend, read_timeout_seconds=0.2) as caller,
        pytest.raises(UpstreamTimeoutError),
    ):
        caller.fetch(request)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_backend_that_closes_in_the_middle_of_the_upload_gave_no_answer(end: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_head()
        if end == "reset":
            conversation.reset()

    request = UpstreamRequest("PUT", "/", [], PiecesBody(repeat(b"x" * MEBIBYTE, 100), 100 * MEBIBYTE))
    with RawBackend(script) as backend, calling(backend) as caller:
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch(request)
        assert backend.connection_count == 1
