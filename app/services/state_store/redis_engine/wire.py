"""One connection to one Redis server: a command goes out, its reply comes back.

redis-py's `Connection` connects, speaks TLS, logs in, packs and (with hiredis) parses. Its clients and pools are not
used: they retry for seconds, cannot say whether a command was sent before it failed, and cost 60 µs more a call.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from app.core.redis_address import HostAndPort
from app.services.green_sockets import GreenSocket, is_green
from app.services.state_store.redis_engine.failures import (
    RedirectedError,
    RedisFailedError,
    ScriptUnknownError,
    build_broken_failure,
    build_opening_failure,
    build_reply_error,
)

Argument: TypeAlias = bytes | str | int
Reply: TypeAlias = Any
"""What the parser gives: None, int, bytes, or a list of these. Who sends a command knows what it answers."""

_TRUSTED_IDLE_SECONDS = 0.1
"""A connection that answered this recently is taken for good: looking (15 µs) costs as much as a command."""


class Wire:
    """Open from the start. Not for two callers at once."""

    def __init__(self, connection: Any, host: HostAndPort, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._replies_owed = 0
        sock = connection._get_socket()
        self._green = GreenSocket(sock) if is_green(sock) else None
        self.host = host
        self.generation = 0
        """The pool's mark: which of its generations this belongs to."""

    def call(self, *command: Argument) -> Reply:
        """Raises `RedisFailedError`, `RedirectedError` or `ScriptUnknownError`. The wire is closed if it broke."""
        self.send(*command)
        if self._green is not None:
            self._wait_for_reply(self._green)
        return self.read()

    def call_together(self, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        """Sends them all, then reads their replies; None stands for one that is an error. Raises `RedisFailedError`
        when the wire breaks."""
        self._replies_owed += len(commands)
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands))
        except RedisError as error:
            raise build_broken_failure(error, self.host) from None
        if self._green is not None:
            self._wait_for_reply(self._green)
        return [self._read_or_none() for _ in commands]

    def _read_or_none(self) -> Reply:
        try:
            return self.read()
        except (RedirectedError, ScriptUnknownError):
            return None
        except RedisFailedError:
            if not self.is_open():
                raise
            return None

    def _wait_for_reply(self, green: GreenSocket) -> None:
        """Nothing can be there yet: redis-py would ask the system first, and wait then at twice the cost."""
        try:
            green.wait_to_receive(self._connection.socket_timeout)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise RedisFailedError(f"{self.host} did not answer in time", may_have_run=True) from None
            raise

    def send(self, *command: Argument) -> None:
        """Raises `RedisFailedError`."""
        self._replies_owed += 1
        try:
            self._connection.send_command(*command)
        except RedisError as error:
            raise build_broken_failure(error, self.host) from None

    def read(self) -> Reply:
        """Reads one reply. Raises as `call`."""
        try:
            reply = self._connection.read_response()
        except ResponseError as error:
            self._note_reply()
            raise build_reply_error(error, self.host) from None
        except RedisError as error:
            raise build_broken_failure(error, self.host) from None
        self._note_reply()
        return reply

    def _note_reply(self) -> None:
        self._answered_at = self._monotonic()
        self._replies_owed -= 1

    def has_word(self, wait_seconds: float) -> bool:
        """Waits until something can be read. Raises `RedisFailedError` when the other side has closed."""
        try:
            return bool(self._connection.can_read(timeout=wait_seconds))
        except RedisError as error:
            raise build_broken_failure(error, self.host) from None

    def is_usable(self) -> bool:
        """Whether a command may be sent: the other side has not closed, and owes no reply to an earlier caller."""
        if not self.is_open() or self._replies_owed:
            return False
        if self._monotonic() - self._answered_at < _TRUSTED_IDLE_SECONDS:
            return True
        if self._green is not None:
            return not self._green.is_readable()
        try:
            return not self.has_word(0)
        except RedisFailedError:
            return False

    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    def hang_up(self) -> None:
        """Ends it while another thread waits for word on it, which then fails there."""
        open_socket = self._connection._get_socket()
        if open_socket is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._green is not None:
            self._green.close()
        self._connection.disconnect()


class WireOpener:
    """Opens connections, all with one set of credentials. `tls` holds whom to trust."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        user: str = "",
        password: str = "",
        database: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._timeout_seconds = timeout_seconds
        self._arguments: dict[str, Any] = {
            "username": user or None,
            "password": password or None,
            "db": database,
            "protocol": 2,  # the listener's PING is answered in RESP2 too, and nothing is pushed unasked
            "driver_info": None,
            "retry": Retry(NoBackoff(), 0),
        }

    def open(self, host: HostAndPort, timeout_seconds: float | None = None) -> Wire:
        """Connects and logs in. Raises `RedisFailedError`."""
        timeout_seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        connection = self._build_connection(host, timeout_seconds)
        try:
            connection.connect()
        except RedisError as error:
            raise build_opening_failure(error, host) from None
        return Wire(connection, host)

    def _build_connection(self, host: HostAndPort, timeout_seconds: float) -> Any:
        arguments = {
            **self._arguments,
            "host": host.host,
            "port": host.port,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
        }
        if self._tls is not None:
            return _TlsConnection(self._tls, arguments)
        return Connection(**arguments)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return "<WireOpener>"


class _TlsConnection(SSLConnection):
    """With a context made once: redis-py's own is made for each connection, and trusts the system beside `ca_file`."""

    def __init__(self, context: ssl.SSLContext, arguments: dict[str, Any]) -> None:
        super().__init__(**arguments)
        self._context = context

    def _wrap_socket_with_ssl(self, sock: Any) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self.host)


def build_tls_context(ca_file: str) -> ssl.SSLContext:
    """Trusts `ca_file` alone, or the system's authorities. Raises `OSError` when the file cannot be used."""
    return ssl.create_default_context(cafile=ca_file or None)
