"""Over TLS the same holds, and nobody is believed without a certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import BffError, UpstreamBadResponseError, UpstreamTimeoutError, UpstreamUnreachableError
from app.services.upstream_client import UpstreamBrokenOffError, UpstreamRequest
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, answering_always
from tests.unit.services.upstream.calls import Caller, PiecesBody, build_service, calling
from tests.unit.services.upstream.certificates import Authority, build_server_context

MEBIBYTE = 1048576
TIMES_OUT = pytest.raises(UpstreamTimeoutError)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def tls_backend(authority: Authority) -> Iterator[RawBackend]:
    context = build_server_context(authority.issue("127.0.0.1", "localhost"))
    with RawBackend(answering_always(OK_ANSWER), context) as backend:
        yield backend


def test_a_backend_with_a_certificate_of_its_authority_is_called(tls_backend: RawBackend, authority: Authority) -> None:
    with calling(tls_backend, ca_file=str(authority.ca_file)) as caller:
        for _ in range(3):
            assert caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody([b"hello"], 5))) == (200, b"ok")
        assert tls_backend.connection_count == 1
        assert tls_backend.requests[0].body == b"hello"


def test_an_unknown_authority_is_not_believed(tls_backend: RawBackend, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for ca_file in (str(other.ca_file), ""):
        with calling(tls_backend, ca_file=ca_file) as caller:
            with pytest.raises(UpstreamUnreachableError) as refusal:
                caller.fetch()
            assert "certificate" in refusal.value.internal_reason.lower()
            assert caller.client.count_connections(caller.service) == 0
    assert tls_backend.requests == []


def test_a_certificate_for_another_host_is_not_believed(authority: Authority) -> None:
    context = build_server_context(authority.issue("backend.example"))
    with RawBackend(answering_always(OK_ANSWER), context) as backend:
        with calling(backend, ca_file=str(authority.ca_file)) as caller, pytest.raises(UpstreamUnreachableError):
            caller.fetch()
        assert backend.requests == []


def test_the_backend_is_told_which_host_is_meant(authority: Authority) -> None:
    named: list[str | None] = []
    context = build_server_context(authority.issue("localhost"))
    context.sni_callback = lambda _, name, __: named.append(name)
    with RawBackend(answering_always(OK_ANSWER), context) as backend:
        base_url = f"https://localhost:{backend.port}"
        caller = Caller(build_service(base_url, ca_file=str(authority.ca_file)))
        assert caller.fetch() == (200, b"ok")
        assert backend.requests[0].get_all("Host") == [b"localhost:%d" % backend.port]
        caller.client.close()
    assert named == ["localhost"]


def test_our_certificate_is_shown_where_one_is_set(authority: Authority, tmp_path: Path) -> None:
    of_clients = Authority(tmp_path, "clients")
    ours = of_clients.issue("bff")
    context = build_server_context(authority.issue("127.0.0.1"), of_clients.ca_file)
    with RawBackend(answering_always(OK_ANSWER), context) as backend:
        files = {"cert_file": str(ours.cert_file), "key_file": str(ours.key_file)}
        with calling(backend, ca_file=str(authority.ca_file), **files) as caller:
            assert caller.fetch() == (200, b"ok")
        # With TLS 1.3 the client learns only at its first read that it was not let in.
        with calling(backend, ca_file=str(authority.ca_file)) as caller, pytest.raises(BffError) as refusal:
            caller.fetch()
        assert isinstance(refusal.value, UpstreamUnreachableError | UpstreamBadResponseError)
        assert len(backend.requests) == 1


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_certificate_file_that_is_missing_is_told_at_start(key: str, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Caller(build_service("https://backend.example", **{key: str(tmp_path / "missing.pem")}))


def test_a_certificate_file_that_is_none_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "odd.pem").write_text("odd")
    with pytest.raises(ssl.SSLError):
        Caller(build_service("https://backend.example", ca_file=str(tmp_path / "odd.pem")))


def test_a_backend_that_does_not_speak_tls_is_unreachable(authority: Authority) -> None:
    def script(conversation: Conversation) -> None:
        conversation.receive()
        conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawBackend(script) as backend:
        base_url = f"https://127.0.0.1:{backend.port}"
        with pytest.raises(UpstreamUnreachableError):
            Caller(build_service(base_url, ca_file=str(authority.ca_file))).fetch()


def test_a_handshake_that_does_not_end_is_a_timeout(authority: Authority) -> None:
    with RawBackend(lambda conversation: conversation.wait_for_end()) as backend:
        service = build_service(
            f"https://127.0.0.1:{backend.port}", ca_file=str(authority.ca_file), connect_timeout_seconds=0.2
        )
        with pytest.raises(UpstreamTimeoutError):
            Caller(service).fetch()


def test_a_silent_backend_is_a_timeout(authority: Authority) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.wait_for_end()

    context = build_server_context(authority.issue("127.0.0.1"))
    limits = {"ca_file": str(authority.ca_file), "read_timeout_seconds": 0.2}
    with RawBackend(script, context) as backend, calling(backend, **limits) as caller, TIMES_OUT:
        caller.fetch()


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_only_tls_itself_can_end_a_body_without_length(authority: Authority, says_goodbye: bool) -> None:
    """Anyone on the way can cut a connection; the goodbye of TLS is authenticated (RFC 9112 §9.8)."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nall of it?")
        assert isinstance(conversation.socket, ssl.SSLSocket)
        if says_goodbye:
            conversation.socket.unwrap()

    context = build_server_context(authority.issue("127.0.0.1"))
    with RawBackend(script, context) as backend, calling(backend, ca_file=str(authority.ca_file)) as caller:
        response = caller.open()
        pieces = response.iter_body()
        assert next(pieces) == b"all of it?"
        if says_goodbye:
            assert list(pieces) == []
        else:
            with pytest.raises(UpstreamBrokenOffError):
                next(pieces)
        response.close()


def test_large_bodies_pass_both_ways(authority: Authority) -> None:
    body = bytes(range(256)) * 4096 * 5

    def script(conversation: Conversation) -> None:
        request = conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        conversation.send(request.body)
        conversation.wait_for_end()

    context = build_server_context(authority.issue("127.0.0.1"))
    with RawBackend(script, context) as backend, calling(backend, ca_file=str(authority.ca_file)) as caller:
        request = UpstreamRequest("PUT", "/", [], PiecesBody([body], len(body)))
        assert caller.fetch(request) == (200, body)


def test_an_early_refusal_ends_the_upload(authority: Authority) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        conversation.stop_reading()

    context = build_server_context(authority.issue("127.0.0.1"))
    pieces = (b"x" * MEBIBYTE for _ in range(100))
    with RawBackend(script, context) as backend, calling(backend, ca_file=str(authority.ca_file)) as caller:
        request = UpstreamRequest("POST", "/", [], PiecesBody(pieces, 100 * MEBIBYTE))
        assert caller.fetch(request) == (413, b"big")
