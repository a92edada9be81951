from __future__ import annotations

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import (
    RedirectedError,
    RedisFailedError,
    ScriptUnknownError,
    build_broken_failure,
    build_opening_failure,
    build_reply_error,
)

HOST = HostAndPort("redis", 6379)
SECRET = "session:0123456789abcdef"


def parse(reply: str) -> exceptions.ResponseError:
    """As redis-py reads an error off the wire."""
    error = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    assert isinstance(error, exceptions.ResponseError)
    return error


@pytest.mark.parametrize(
    ("reply", "code", "may_pass", "is_node_in_doubt"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY", True, True),
        ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", True, True),
        ("MASTERDOWN Link with MASTER is down", "MASTERDOWN", True, True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", True, False),
        ("BUSY Redis is busy running a script.", "BUSY", True, False),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM", False, False),
        ("NOPERM User bff has no permissions to access a key", "NOPERM", False, False),
        ("MISCONF Redis is configured to save RDB snapshots", "MISCONF", False, False),
        (f"ERR unknown command 'X', with args beginning with: '{SECRET}'", "ERR", False, False),
        (f"WRONGTYPE {SECRET}", "WRONGTYPE", False, False),
        (f"{SECRET}", "ERR", False, False),
    ],
)
def test_a_refusal_is_told_by_its_code_alone(reply: str, code: str, may_pass: bool, is_node_in_doubt: bool) -> None:
    failure = build_reply_error(parse(reply), HOST)
    assert isinstance(failure, RedisFailedError)
    assert failure.reason == f"redis:6379 answered {code}"
    assert (failure.may_pass, failure.is_node_in_doubt) == (may_pass, is_node_in_doubt)
    assert not failure.may_have_run


@pytest.mark.parametrize(
    ("reply", "host", "for_once"),
    [
        ("MOVED 3999 10.0.0.1:6381", HostAndPort("10.0.0.1", 6381), False),
        ("ASK 3999 10.0.0.1:6381", HostAndPort("10.0.0.1", 6381), True),
        ("MOVED 3999 :6381", HostAndPort("redis", 6381), False),
    ],
)
def test_a_redirection_names_slot_and_node(reply: str, host: HostAndPort, for_once: bool) -> None:
    redirect = build_reply_error(parse(reply), HOST)
    assert isinstance(redirect, RedirectedError)
    assert (redirect.slot, redirect.host, redirect.for_once) == (3999, host, for_once)


def test_an_unknown_script_is_no_failure() -> None:
    assert isinstance(build_reply_error(parse("NOSCRIPT No matching script."), HOST), ScriptUnknownError)


@pytest.mark.parametrize(
    ("error", "may_have_run"),
    [
        (exceptions.TimeoutError("Timeout reading from socket"), True),
        (exceptions.ConnectionError("Connection closed by server."), True),
        (exceptions.InvalidResponse("Protocol error"), True),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), False),
        (exceptions.AuthenticationError("Authentication required."), False),
    ],
)
def test_only_what_is_known_not_to_have_run_passes_for_not_run(
    error: exceptions.RedisError, may_have_run: bool
) -> None:
    assert build_broken_failure(error, HOST).may_have_run is may_have_run


def test_nothing_of_ours_has_run_on_a_connection_that_was_never_open() -> None:
    for error in (exceptions.TimeoutError(), exceptions.ConnectionError(), exceptions.ResponseError("ERR DB index")):
        assert not build_opening_failure(error, HOST).may_have_run


def test_a_wrong_password_is_not_tried_again() -> None:
    failure = build_opening_failure(exceptions.AuthenticationError("invalid", status_code="WRONGPASS"), HOST)
    assert not failure.may_pass
    assert failure.reason == "redis:6379 answered WRONGPASS"
