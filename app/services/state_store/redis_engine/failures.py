"""What can go wrong between us and Redis, sorted by what it means for the call at hand.

redis-py's exceptions end here: what they say can repeat arguments, and those hold secrets. From each only its kind is
kept.
"""

from __future__ import annotations

import re
import socket
import ssl

from redis import exceptions

from app.core.errors import StoreUnavailableError
from app.core.redis_address import HostAndPort

_ERROR_CODE = re.compile(r"[A-Z]{2,20}\b")


class RedisFailedError(Exception):
    """A command did not come back with a reply of use. `reason` is for operators and holds no key and no value."""

    def __init__(
        self, reason: str, *, may_have_run: bool = False, may_pass: bool = True, is_node_in_doubt: bool = True
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_have_run = may_have_run
        """Whether Redis may have done what it was told."""
        self.may_pass = may_pass
        """Whether the same could succeed a moment later."""
        self.is_node_in_doubt = is_node_in_doubt
        """Whether another node may be the one to speak to, and other connections to this one be as dead."""


class UnclearOutcomeError(StoreUnavailableError):
    """A command was sent, and what became of it was never heard: Redis may have done it."""


class RedirectedError(Exception):
    """A node of a cluster says that another one has the slot: for good (MOVED), or for this command only (ASK)."""

    def __init__(self, slot: int, host: HostAndPort, *, for_once: bool) -> None:
        super().__init__(f"slot {slot} is at {host}")
        self.slot = slot
        self.host = host
        self.for_once = for_once


class ScriptUnknownError(Exception):
    """The server has not seen this script yet, or was started again since."""


def build_opening_failure(error: Exception, host: HostAndPort) -> RedisFailedError:
    """From what redis-py raises while it connects: nothing of ours was sent."""
    if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError | exceptions.BusyLoadingError):
        return _build_refusal(error, host)
    return RedisFailedError(f"{host} {_tell_connection_error(error)}")


def build_broken_failure(error: Exception, host: HostAndPort) -> RedisFailedError:
    """From what redis-py raises when a connection breaks with a command on its way."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.BusyLoadingError):  # replies, for all that
        return _build_refusal(error, host)
    if isinstance(error, exceptions.TimeoutError):
        return RedisFailedError(f"{host} did not answer in time", may_have_run=True)
    if isinstance(error, exceptions.InvalidResponse):
        return RedisFailedError(f"{host} does not speak as Redis does", may_have_run=True)
    return RedisFailedError(f"{host} closed the connection", may_have_run=True)


def build_reply_error(
    error: exceptions.ResponseError, host: HostAndPort
) -> RedisFailedError | RedirectedError | ScriptUnknownError:
    """From an error that came as a reply."""
    if isinstance(error, exceptions.NoScriptError):
        return ScriptUnknownError()
    if isinstance(error, exceptions.AskError):  # MovedError is one as well
        named = HostAndPort(str(error.host) or host.host, int(error.port))
        return RedirectedError(int(error.slot_id), named, for_once=not isinstance(error, exceptions.MovedError))
    return _build_refusal(error, host)


_PASSING_ON_THIS_NODE = frozenset({"LOADING", "TRYAGAIN", "BUSY"})
_PASSING_ON_ANOTHER_NODE = frozenset({"READONLY", "CLUSTERDOWN", "MASTERDOWN"})


def _build_refusal(error: exceptions.RedisError, host: HostAndPort) -> RedisFailedError:
    code = _get_code(error)
    if code in _PASSING_ON_ANOTHER_NODE:
        return RedisFailedError(f"{host} answered {code}")
    may_pass = code in _PASSING_ON_THIS_NODE
    return RedisFailedError(f"{host} answered {code}", may_pass=may_pass, is_node_in_doubt=False)


def _get_code(error: exceptions.RedisError) -> str:
    if isinstance(error, exceptions.BusyLoadingError):
        return "LOADING"
    status_code = getattr(error, "status_code", None)
    if isinstance(status_code, str) and _ERROR_CODE.fullmatch(status_code):
        return status_code
    match = _ERROR_CODE.match(str(error))
    return match[0] if match else "ERR"


def _tell_connection_error(error: Exception) -> str:
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return "does not speak TLS as it should"
    if isinstance(cause, socket.gaierror):
        return "is a name without an address"
    if isinstance(cause, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(error, exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        return "did not take the connection in time"
    if isinstance(error, exceptions.ConnectionError) and "max number of clients" in str(error):
        return "has too many clients"
    return "could not be connected to"
