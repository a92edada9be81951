"""`ControlHttp` against real sockets: what it bounds and what it never does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.services.control_http import ControlAnswer, ControlHttp, ControlNotSentError, ControlUnreachableError

Handler = Callable[[socket.socket, bytes], None]


@contextmanager
def raw_server(handler: Handler) -> Iterator[tuple[str, list[bytes]]]:
    """Serves each connection with `handler(connection, head)` and remembers every request as it came."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    def converse(connection: socket.socket) -> None:
        with connection:
            try:
                while head := _read_request(connection):
                    seen.append(head)
                    handler(connection, head)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _read_request(connection: socket.socket) -> bytes:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        buffer += chunk
    head, _, body = buffer.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"{}", *extra: bytes, status: bytes = b"200 OK") -> Handler:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *extra]
    payload = b"\r\n".join(lines) + b"\r\n\r\n" + body
    return lambda connection, _head: connection.sendall(payload)


def build_http(**options: float | str) -> ControlHttp:
    return ControlHttp(**{"timeout_seconds": 5.0, **options})  # type: ignore[arg-type]


def test_an_answer_comes_back_whole_whatever_its_status_is() -> None:
    with raw_server(answer(b'{"error":"x"}', b"X-Thing: one", status=b"400 Bad Request")) as (origin, _):
        got = build_http().fetch("GET", origin + "/a")
    assert (got.status, got.body, got.headers["x-thing"]) == (400, b'{"error":"x"}', "one")


def test_a_form_is_sent_encoded_and_in_order() -> None:
    with raw_server(answer()) as (origin, seen):
        build_http().fetch("POST", origin + "/token", form=[("b", "ä &"), ("a", "1"), ("b", "2")])
    assert seen[0].endswith(b"\r\n\r\nb=%C3%A4+%26&a=1&b=2")
    assert b"content-type: application/x-www-form-urlencoded" in seen[0].lower()


def test_json_is_sent_as_json() -> None:
    with raw_server(answer()) as (origin, seen):
        build_http().fetch("POST", origin, json_body={"a": 1})
    assert seen[0].endswith(b'\r\n\r\n{"a": 1}')


def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ControlNotSentError):
        build_http().fetch("POST", origin, json_body={})


def test_of_a_request_without_an_answer_nobody_knows_what_became() -> None:
    with (
        raw_server(lambda connection, _: connection.shutdown(socket.SHUT_RDWR)) as (origin, seen),
        pytest.raises(ControlUnreachableError) as caught,
    ):
        build_http().fetch("POST", origin, json_body={})
    assert len(seen) == 1
    assert not isinstance(caught.value, ControlNotSentError)


def test_redirects_are_not_followed() -> None:
    with raw_server(answer(b"", b"Location: /elsewhere", status=b"302 Found")) as (origin, seen):
        assert build_http().fetch("GET", origin + "/a").status == 302
    assert len(seen) == 1


def test_cookies_of_one_answer_do_not_reach_the_next_request() -> None:
    with raw_server(answer(b"{}", b"Set-Cookie: a=b; Path=/")) as (origin, seen):
        http = build_http()
        http.fetch("GET", origin)
        http.fetch("GET", origin)
    assert len(seen) == 2
    assert b"cookie:" not in seen[1].lower()


def test_the_environment_names_no_proxy_and_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with raw_server(answer()) as (origin, seen):
        build_http().fetch("GET", origin, headers={"Authorization": "Bearer ours"})
    assert b"authorization: bearer ours" in seen[0].lower()


def test_a_body_over_the_limit_is_refused() -> None:
    with (
        raw_server(answer(b"x" * 1001)) as (origin, _),
        pytest.raises(ControlUnreachableError, match="larger than 1000 bytes"),
    ):
        build_http().fetch("GET", origin, max_bytes=1000)


def test_a_body_of_exactly_the_limit_passes() -> None:
    with raw_server(answer(b"x" * 1000)) as (origin, _):
        assert len(build_http().fetch("GET", origin, max_bytes=1000).body) == 1000


def test_an_endless_chunked_body_is_cut_off() -> None:
    def endless(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

    with raw_server(endless) as (origin, _), pytest.raises(ControlUnreachableError, match="larger"):
        build_http().fetch("GET", origin, max_bytes=10_000)


def test_a_compressed_answer_is_refused() -> None:
    with (
        raw_server(answer(b"\x1f\x8b", b"Content-Encoding: gzip")) as (origin, seen),
        pytest.raises(ControlUnreachableError, match="compressed"),
    ):
        build_http().fetch("GET", origin)
    assert b"accept-encoding: identity" in seen[0].lower()


def test_a_body_cut_short_is_no_answer() -> None:
    def cut(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(cut) as (origin, _), pytest.raises(ControlUnreachableError):
        build_http().fetch("POST", origin)


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_far_side_that_drips_cannot_outlast_the_total_time(part: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(part)
        while not stop.wait(0.05):
            connection.sendall(b"x")

    try:
        with raw_server(drip) as (origin, _), pytest.raises(ControlUnreachableError, match="too long"):
            build_http(timeout_seconds=0.4).fetch("GET", origin)
    finally:
        stop.set()


def test_a_shorter_total_can_be_asked_for_and_none_left_is_a_refusal() -> None:
    stop = threading.Event()

    def stay_silent(_connection: socket.socket, _head: bytes) -> None:
        stop.wait(10)

    with raw_server(stay_silent) as (origin, seen):
        with pytest.raises(ControlUnreachableError):
            build_http(timeout_seconds=60).fetch("GET", origin, total_seconds=0.2)
        stop.set()
        with pytest.raises(ControlUnreachableError, match="no time"):
            build_http().fetch("POST", origin, total_seconds=0)
    assert not any(head.startswith(b"POST") for head in seen)


def test_nobody_listening_is_unreachable_and_the_error_does_not_repeat_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ControlUnreachableError) as caught:
        build_http().fetch("GET", f"http://user:secret@127.0.0.1:{port}/?code=secret")
    assert str(caught.value) == f"ConnectionError in the exchange with 127.0.0.1:{port}"


def test_a_get_on_a_connection_that_was_closed_meanwhile_is_sent_again() -> None:
    calls: list[bytes] = []

    def close_second(connection: socket.socket, head: bytes) -> None:
        calls.append(head)
        if len(calls) == 2:
            connection.shutdown(socket.SHUT_RDWR)
        else:
            answer()(connection, head)

    with raw_server(close_second) as (origin, _):
        http = build_http()
        http.fetch("GET", origin)
        assert http.fetch("GET", origin).status == 200
    assert len(calls) == 3


def test_a_post_is_never_sent_twice() -> None:
    def close_at_once(connection: socket.socket, _head: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with raw_server(close_at_once) as (origin, seen):
        with pytest.raises(ControlUnreachableError):
            build_http().fetch("POST", origin, form=[("code", "x")])
        assert len(seen) == 1


def test_the_repr_of_an_answer_hides_its_body() -> None:
    assert "secret" not in repr(ControlAnswer(200, {}, b"secret"))
