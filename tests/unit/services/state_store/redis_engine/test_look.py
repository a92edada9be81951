"""Commands that are sent together: what one of them meets does not touch the others, and nothing is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence

import pytest

from app.core.errors import StoreUnavailableError
from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine import RedisStateStore
from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.scripts import Command
from app.services.state_store.redis_engine.wire import Wire, WireOpener
from tests.support.cutting_proxy import CuttingProxy
from tests.support.redis_servers import Cluster, RedisServer
from tests.unit.services.state_store.redis_engine.support import KEY, OTHER, opened


def open_wire(server: RedisServer) -> Wire:
    return WireOpener(timeout_seconds=5).open(HostAndPort("127.0.0.1", server.port))


def read_mark(store: RedisStateStore, key: str) -> Hashable:
    found = store.find(key)
    assert found is not None
    return found.mark


def test_an_error_stands_in_its_place_and_the_replies_behind_it_are_read(redis_server: RedisServer) -> None:
    wire = open_wire(redis_server)
    wire.call("SET", "own-look", b"value")
    looks = [("GET", "own-look"), ("LLEN", "own-look"), ("NO-SUCH-COMMAND",), ("GETRANGE", "own-look", 0, 1)]
    assert wire.call_together(looks) == [b"value", None, None, b"va"]
    assert wire.is_usable()
    assert wire.call("PING") == b"PONG"
    wire.close()


def test_a_connection_that_breaks_in_between_breaks_them_all(redis_server: RedisServer) -> None:
    wire = open_wire(redis_server)
    with pytest.raises(RedisFailedError, match="closed the connection"):
        wire.call_together([("PING",), ("QUIT",), ("PING",)])
    assert not wire.is_open()


def test_a_server_that_is_silent_is_given_up(redis_server: RedisServer) -> None:
    wire = WireOpener(timeout_seconds=0.05).open(HostAndPort("127.0.0.1", redis_server.port))
    with pytest.raises(RedisFailedError, match="did not answer in time") as failure:
        wire.call("BLPOP", "own-nothing", 30)
    assert failure.value.may_have_run
    assert not wire.is_open()


def test_what_ends_between_the_reply_and_the_mark_is_not_current(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(redis_server.url) as store:
        store.put(KEY, b"value", 60)
        look = store._caller.look

        def look_and_delete(commands: Sequence[Command]) -> object:
            replies = look(commands)
            store.delete(KEY)
            return replies

        marks: dict[str, Hashable] = {KEY: read_mark(store, KEY)}
        monkeypatch.setattr(store._caller, "look", look_and_delete)
        confirmed = store.confirm(marks)
        assert list(confirmed) == [KEY]
        assert not store.is_current(KEY, confirmed[KEY])


def test_a_wire_that_owes_a_reply_is_not_lent_again(redis_server: RedisServer) -> None:
    wire = open_wire(redis_server)
    wire.send("ECHO", "one")
    wire.send("ECHO", "two")
    assert wire.read() == b"one"
    assert not wire.is_usable()
    assert wire.read() == b"two"
    assert wire.is_usable()
    wire.close()


def test_a_look_whose_reply_is_lost_confirms_nothing_and_the_next_one_does(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        CuttingProxy(redis_server.port) as proxy,
        opened(f"redis://127.0.0.1:{proxy.port}", max_connections=1) as store,
    ):
        store.put(KEY, b"value", 60)
        marks: dict[str, Hashable] = {KEY: read_mark(store, KEY)}
        doubted: list[object] = []
        monkeypatch.setattr(store._topology, "doubt", doubted.append)
        proxy.cut_replies()
        with pytest.raises(StoreUnavailableError):
            store.confirm(marks)
        assert doubted == [store._topology.find_node("", 0)]
        assert list(store.confirm(marks)) == [KEY]


def test_what_other_nodes_of_a_cluster_hold_is_confirmed_without_the_one_that_fails(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"session:{number:064x}" for number in range(40)]
    call_together: Callable[..., object] = Wire.call_together
    lock, asked = threading.Lock(), []

    def fail_first(wire: Wire, commands: list[tuple[str, ...]]) -> object:
        with lock:
            asked.append(len(commands))
            if len(asked) == 1:
                raise RedisFailedError("it is gone", is_node_in_doubt=False)
        return call_together(wire, commands)

    with opened(cluster.url) as store:
        for key in keys:
            store.put(key, b"value", 60)
        marks: dict[str, Hashable] = {key: read_mark(store, key) for key in keys}
        monkeypatch.setattr(Wire, "call_together", fail_first)
        confirmed = store.confirm(marks)
        assert len(asked) == len(cluster.masters)
        assert len(confirmed) == len(keys) - asked[0]
        for key in keys:
            store.delete(key)


def test_a_record_of_a_kind_that_nobody_announces_is_not_confirmed(redis_server: RedisServer) -> None:
    with opened(redis_server.url) as store:
        store.put("login:a", b"value", 60)
        store.put(OTHER, b"value", 60)
        marks: dict[str, Hashable] = {"login:a": read_mark(store, "login:a"), OTHER: read_mark(store, OTHER)}
        assert list(store.confirm(marks)) == [OTHER]
