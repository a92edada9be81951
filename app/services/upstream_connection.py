"""One connection to a backend: opening it, waiting on it within limits, knowing whether it is still good.

The other end is always a `base_url` from configuration. There are no proxies, no `.netrc`, no redirects and no
cookies here, because nothing here knows of them. Plain blocking sockets: under gevent they are patched and yield
instead of blocking.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.core.errors import UpstreamTimeoutError, UpstreamUnreachableError
from app.core.routes import Service
from app.services.green_sockets import GreenSocket, is_green

IDLE_LIMIT_SECONDS = 30.0
_KEEPALIVE_PROBE_AFTER_SECONDS = 60
"""A backend machine that vanishes is noticed on a stream without read timeout, too."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a `base_url`; its path is the gateway's matter."""

    scheme: str
    host: str
    port: int
    host_header: str


def parse_origin(base_url: str) -> Origin:
    """Takes a `base_url` that the settings have checked."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    default_port = 443 if parts.scheme == "https" else 80
    port = parts.port or default_port
    written_host = f"[{host}]" if ":" in host else host
    host_header = written_host if port == default_port else f"{written_host}:{port}"
    return Origin(parts.scheme, host, port, host_header)


def build_tls_context(service: Service) -> ssl.SSLContext:
    """Verifies the backend against `ca_file` alone where one is set, else the system's; shows our certificate where
    one is set."""
    context = ssl.create_default_context(cafile=service.ca_file or None)
    # Early Pythons 3.11, Debian 12's 3.11.2 too, have OpenSSL take a connection that was cut for one that was ended.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["http/1.1"])
    if service.cert_file:
        context.load_cert_chain(service.cert_file, service.key_file or None)
    return context


class WaitLimits:
    """How long one call may wait: for each read, and altogether."""

    __slots__ = ("_deadline", "_monotonic", "_seconds")

    def __init__(self, seconds: float | None, deadline: float | None, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._deadline = deadline
        self._monotonic = monotonic

    def get_seconds(self) -> float | None:
        """Returns the limit of the next wait, None for no limit; raises `TimeoutError` when the time is over."""
        if self._deadline is None:
            return self._seconds
        left_seconds = self._deadline - self._monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        return left_seconds if self._seconds is None else min(left_seconds, self._seconds)

    def until(self, deadline: float) -> WaitLimits:
        """Returns these limits, ended at `deadline`."""
        return WaitLimits(self._seconds, deadline, self._monotonic)

    def without_end(self) -> WaitLimits:
        """Returns limits that limit nothing."""
        return WaitLimits(None, None, self._monotonic)

    def begin_last_wait(self) -> WaitLimits:
        """Returns limits under which all further waits together last no longer than one may."""
        if self._seconds is None:
            return self
        end = self._monotonic() + self._seconds
        return WaitLimits(None, end if self._deadline is None else min(end, self._deadline), self._monotonic)


class UpstreamConnection:
    """A socket that is in its owner's hands or at rest in a pool. At rest and while sending it never blocks."""

    __slots__ = ("_socket", "_timeout_seconds", "has_slot", "idle_limit_seconds", "idle_since", "is_reused")

    def __init__(self, connected_socket: socket.socket) -> None:
        self._socket = connected_socket
        self._timeout_seconds: float | None = 0.0
        connected_socket.settimeout(0.0)
        self.has_slot = True
        """Whether it counts among its pool's connections."""
        self.idle_limit_seconds = IDLE_LIMIT_SECONDS
        self.idle_since = 0.0
        self.is_reused = False
        """Whether it has carried a call before: only then can the backend have closed it for being idle."""

    @property
    def tunnel_socket(self) -> socket.socket:
        """For whoever speaks another protocol over it from now on."""
        return self._socket

    def send(self, content: bytes | memoryview) -> int:
        """Returns how many bytes were taken, 0 when none can be without waiting."""
        self._set_timeout(0.0)
        try:
            return self._socket.send(content)
        except _WOULD_BLOCK:
            return 0

    def receive(self, max_bytes: int, timeout_seconds: float | None) -> bytes:
        """Returns bytes as soon as there are some, b"" at the end; raises `TimeoutError`, `OSError`."""
        self._set_timeout(timeout_seconds)
        return self._socket.recv(max_bytes)

    def receive_answer(self, max_bytes: int, timeout_seconds: float | None) -> bytes:
        """As `receive`, for bytes that are hardly there yet."""
        return self.receive(max_bytes, timeout_seconds)

    def receive_at_hand(self, max_bytes: int) -> bytes | None:
        """Like `receive`, but None when nothing is there right now."""
        self._set_timeout(0.0)
        try:
            return self._socket.recv(max_bytes)
        except _WOULD_BLOCK:
            return None

    def wait_to_send(self, timeout_seconds: float | None, *, or_receive: bool) -> None:
        """Waits until bytes can be sent or, if asked, received; raises `TimeoutError`."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT | (select.POLLIN if or_receive else 0))
        if not poll.poll(None if timeout_seconds is None else timeout_seconds * 1000):
            raise TimeoutError

    def rest(self, now: float) -> None:
        """The call is over and the connection goes to its pool."""
        self._set_timeout(0.0)
        self.idle_since = now
        self.is_reused = True

    def is_fit(self, now: float) -> bool:
        """Tells whether a connection at rest can carry a call: not idle for too long, and silent.

        Bytes that nobody asked for are as bad as an end: they would be read as the next answer.
        """
        return now - self.idle_since <= self.idle_limit_seconds and self._is_silent()

    def _is_silent(self) -> bool:
        try:
            return self.receive_at_hand(1) is None
        except OSError:
            return False

    def break_off(self) -> None:
        """Wakes whoever waits on this connection, from another greenlet or thread; the owner still closes it.

        Not `SSLSocket.shutdown`: that drops the TLS state, and a read in progress would go on with the ciphertext.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _set_timeout(self, timeout_seconds: float | None) -> None:
        """Changes it only where needed: each change is a system call."""
        if timeout_seconds != self._timeout_seconds:
            self._socket.settimeout(timeout_seconds)
            self._timeout_seconds = timeout_seconds


class GreenConnection(UpstreamConnection):
    """The same without TLS under gevent, where there are shorter ways."""

    __slots__ = ("_green",)

    def __init__(self, connected_socket: socket.socket) -> None:
        super().__init__(connected_socket)
        self._green = GreenSocket(connected_socket)

    def send(self, content: bytes | memoryview) -> int:
        try:
            sent: int = self._green.raw.send(content)
        except BlockingIOError:
            return 0
        return sent

    def receive_answer(self, max_bytes: int, timeout_seconds: float | None) -> bytes:
        return self._green.receive(max_bytes, timeout_seconds)

    def _is_silent(self) -> bool:
        return not self._green.is_readable()

    def close(self) -> None:
        self._green.close()
        super().close()


def open_connection(
    origin: Origin, tls_context: ssl.SSLContext | None, timeout_seconds: float, monotonic: Callable[[], float]
) -> UpstreamConnection:
    """Connects, with TLS where `tls_context` is given, within `timeout_seconds` (name resolution has its own limit).

    Raises `UpstreamUnreachableError` (no such name, refused, certificate not accepted) or `UpstreamTimeoutError`.
    """
    limits = WaitLimits(None, monotonic() + timeout_seconds, monotonic)
    try:
        connected_socket = _connect(origin, limits)
        connected_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_PROBE_AFTER_SECONDS)
        if tls_context is not None:
            connected_socket = _start_tls(connected_socket, origin, tls_context, limits)
    except TimeoutError:
        raise UpstreamTimeoutError(internal_reason=f"connecting to {origin.host_header} took too long") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: the name is none that DNS could hold
        reason = f"connecting to {origin.host_header} failed: {error}"
        raise UpstreamUnreachableError(internal_reason=reason) from error
    return (GreenConnection if is_green(connected_socket) else UpstreamConnection)(connected_socket)


def _connect(origin: Origin, limits: WaitLimits) -> socket.socket:
    """Tries each address of the name in turn, all within the same limit."""
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM):
        try:
            return _connect_to(address, socket.socket(family, kind, protocol), limits)
        except OSError as error:
            failure = error
    raise failure


def _connect_to(address: tuple[object, ...], candidate: socket.socket, limits: WaitLimits) -> socket.socket:
    try:
        candidate.settimeout(limits.get_seconds())
        candidate.connect(address)
    except BaseException:
        candidate.close()
        raise
    return candidate


def _start_tls(
    plain_socket: socket.socket, origin: Origin, tls_context: ssl.SSLContext, limits: WaitLimits
) -> ssl.SSLSocket:
    """An end without TLS's own goodbye may be anyone's doing, so it is never taken for the end of a body."""
    try:
        plain_socket.settimeout(limits.get_seconds())
        return tls_context.wrap_socket(plain_socket, server_hostname=origin.host, suppress_ragged_eofs=False)
    except BaseException:
        plain_socket.close()
        raise
