"""What happens to a command when the connection breaks before it arrived, or before its reply did."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine import RedisStateStore
from tests.support.cutting_proxy import CuttingProxy
from tests.support.redis_servers import RedisServer
from tests.unit.services.state_store.redis_engine.support import KEY, OTHER, new_prefix, opened


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def store(proxy: CuttingProxy, prefix: str) -> Iterator[RedisStateStore]:
    """A store behind the proxy, with all scripts known to the server."""
    with opened(f"redis://127.0.0.1:{proxy.port}", key_prefix=prefix, retries=1, max_connections=1) as store:
        yield store


@pytest.fixture
def direct(redis_server: RedisServer, prefix: str) -> Iterator[RedisStateStore]:
    """The same records, seen past the proxy."""
    with opened(redis_server.url, key_prefix=prefix) as store:
        yield store


def warm_up(store: RedisStateStore) -> None:
    """Makes the scripts known, so that each operation is one exchange."""
    store.put(OTHER, b"", 60)
    other = store.find(OTHER)
    assert other is not None
    store.put_if_current(OTHER, other.mark, b"", 60)
    store.take(OTHER)
    store.add(OTHER, b"", 60)
    store.delete(OTHER)
    store.increment("limit:other", 60)
    store.add_member("sessions-of-user:other", "m", 60)
    store.members("sessions-of-user:other")
    with store.lock("other", 0):
        pass


def hold_lock(store: RedisStateStore) -> bool:
    with store.lock("refresh:x", wait_seconds=0) as held:
        return held.is_held()


REPEATED: dict[str, Callable[[RedisStateStore], object]] = {
    "find": lambda store: getattr(store.find(KEY), "value", None),
    "put": lambda store: store.put(KEY, b"new", 60),
    "put_if_current": lambda store: store.put_if_current(KEY, getattr(store.find(KEY), "mark", 0), b"new", 60),
    "delete": lambda store: store.delete(KEY),
    "add_member": lambda store: store.add_member("sessions-of-user:x", "m", 60),
    "remove_member": lambda store: store.remove_member("sessions-of-user:x", "m"),
    "members": lambda store: store.members("sessions-of-user:x"),
    "lock": hold_lock,
}


@pytest.mark.parametrize("operation", REPEATED.values(), ids=REPEATED)
def test_what_can_be_repeated_is_and_gives_the_same(
    store: RedisStateStore, proxy: CuttingProxy, operation: Callable[[RedisStateStore], object]
) -> None:
    warm_up(store)
    store.put(KEY, b"old", 60)
    undisturbed = operation(store)
    store.put(KEY, b"old", 60)
    proxy.cut_replies()
    assert operation(store) == undisturbed
    proxy.cut_requests()
    store.put(OTHER, b"", 60)
    store.put(KEY, b"old", 60)
    assert operation(store) == undisturbed


def test_an_add_whose_reply_was_lost_knows_its_own_record_again(store: RedisStateStore, proxy: CuttingProxy) -> None:
    warm_up(store)
    proxy.cut_replies()
    assert store.add(KEY, b"mine", 60) is True
    assert store.add(KEY, b"second", 60) is False


def test_a_replacement_whose_reply_was_lost_knows_its_own_record_again(
    store: RedisStateStore, direct: RedisStateStore, proxy: CuttingProxy
) -> None:
    warm_up(store)
    store.put(KEY, b"old", 60)
    read = store.find(KEY)
    assert read is not None
    proxy.cut_replies()
    assert store.put_if_current(KEY, read.mark, b"new", 60) is True
    found = direct.find(KEY)
    assert found is not None
    assert found.value == b"new"


def test_a_take_whose_reply_was_lost_is_not_taken_for_nothing_there(
    store: RedisStateStore, direct: RedisStateStore, proxy: CuttingProxy
) -> None:
    warm_up(store)
    store.put(KEY, b"once", 60)
    proxy.cut_replies()
    with pytest.raises(StoreUnavailableError) as failure:
        store.take(KEY)
    assert failure.value.internal_reason == f"take: 127.0.0.1:{proxy.port} closed the connection"
    assert direct.find(KEY) is None  # it was taken, and by nobody else


def test_a_take_is_tried_again_when_it_surely_never_arrived(
    store: RedisStateStore, proxy: CuttingProxy, redis_server: RedisServer
) -> None:
    warm_up(store)
    store.put(KEY, b"once", 60)
    redis_server.command("SCRIPT", "FLUSH")  # the reply NOSCRIPT: it has not run
    assert store.take(KEY) == b"once"


def test_no_count_is_made_twice_for_a_lost_reply(
    store: RedisStateStore, direct: RedisStateStore, proxy: CuttingProxy
) -> None:
    warm_up(store)
    assert store.increment("limit:x", 60) == 1
    proxy.cut_replies()
    with pytest.raises(StoreUnavailableError):
        store.increment("limit:x", 60)
    assert direct.increment("limit:x", 60) == 3


def test_retries_end(store: RedisStateStore, proxy: CuttingProxy) -> None:
    warm_up(store)
    proxy.cut_requests(2)
    with pytest.raises(StoreUnavailableError) as failure:
        store.find(KEY)
    assert failure.value.internal_reason == f"find: 127.0.0.1:{proxy.port} closed the connection"
    assert store.find(KEY) is None


def test_a_change_that_may_have_been_made_spoils_copies(store: RedisStateStore, proxy: CuttingProxy) -> None:
    warm_up(store)
    store.put(KEY, b"old", 60)
    read = store.find(KEY)
    assert read is not None
    assert store.is_current(KEY, read.mark)
    proxy.cut_replies(2)
    with pytest.raises(StoreUnavailableError):
        store.delete(KEY)
    assert not store.is_current(KEY, read.mark)
