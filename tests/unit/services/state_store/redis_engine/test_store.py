"""What the contract does not say: how records lie in Redis, and who is let in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.core.redis_address import RedisUrlError
from app.services.decision_epoch import DecisionEpoch
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.factory import build_state_store
from app.services.state_store.redis_engine import RedisStateStore
from app.services.state_store.redis_engine.frame import VERSION
from app.settings.schema.session_section import SessionSettings
from tests.support.processes import free_port
from tests.support.redis_servers import ADMIN_PASSWORD, RedisServer, running_redis_with_users
from tests.unit.services.state_store.engines import NOON, SteppedClock
from tests.unit.services.state_store.redis_engine.support import KEY, OTHER, new_prefix, opened

SECRET = "s3cret-p4ssw0rd"
HOW_TO = Path(__file__).parents[5] / "docs" / "how-to" / "use-redis.md"


def list_keys(server: RedisServer, prefix: str) -> list[str]:
    return sorted(key.decode() for key in server.command("KEYS", f"{prefix}*"))


def test_every_key_has_the_prefix_and_a_lifetime(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.put(KEY, b"", 60)
        store.add("login:x", b"", 60)
        store.increment("limit:x", 60)
        store.add_member("sessions-of-user:x", "m", 60)
        with store.lock("refresh:x", 0, lease_seconds=60):
            keys = list_keys(redis_server, prefix)
            assert len(keys) == 5
            for key in keys:
                assert 59_000 < redis_server.command("PTTL", key) <= 60_000


def test_all_records_of_a_session_lie_in_one_slot(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        for kind in ("session", "tokens", "tombstone"):
            store.put(f"{kind}:{'a' * 64}", b"", 60)
    keys = list_keys(redis_server, prefix)
    assert [key.partition("{")[2] for key in keys] == [f"{'a' * 64}}}"] * 3


def test_a_set_lives_as_long_as_its_longest_member(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.add_member("sessions-of-user:x", "long", 60)
        store.add_member("sessions-of-user:x", "short", 1)
        [key] = list_keys(redis_server, prefix)
        assert redis_server.command("PTTL", key) > 59_000


def test_a_check_leaves_nothing_behind(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.check()
        assert list_keys(redis_server, prefix) == []
        assert store.sweep() == 0


def test_a_lock_name_may_be_anything(redis_server: RedisServer) -> None:
    with opened(redis_server.url) as store, store.lock("ä {}\0 " * 100, 0) as held:
        assert held


def overwrite(server: RedisServer, prefix: str, value: bytes) -> None:
    [key] = list_keys(server, prefix)
    with server.admin() as admin:
        admin.set(key, value, ex=60)


@pytest.mark.parametrize("value", [b"", b"x", b"\x01" + b"x" * 100, b"\x00" * 100], ids=["empty", "short", "x", "nul"])
def test_a_record_that_is_none_of_ours_is_not_there_and_said_once(redis_server: RedisServer, value: bytes) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.put(KEY, b"value", 60)
        overwrite(redis_server, prefix, value)
        with capture_logs() as lines:
            assert [store.find(KEY) for _ in range(3)] == [None] * 3
    [line] = lines
    assert line["event"] == "store.record_unreadable"
    assert KEY not in repr(line)


def test_a_record_copied_over_another_is_refused(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.put(KEY, b"of a", 60)
        store.put(OTHER, b"of b", 60)
        first, second = list_keys(redis_server, prefix)
        redis_server.command("COPY", first, second, "REPLACE")
        with capture_logs() as lines:
            assert store.find(OTHER) is None
        assert store.find(KEY) is not None
    assert "another name" in lines[0]["reason"]


def test_what_a_later_version_wrote_is_left_alone(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    later = bytes([VERSION + 1]) + b"of a later version"
    with opened(redis_server.url, key_prefix=prefix) as store:
        store.put(KEY, b"value", 60)
        read = store.find(KEY)
        assert read is not None
        overwrite(redis_server, prefix, later)
        with capture_logs() as lines:
            assert store.find(KEY) is None
            assert store.take(KEY) is None
        assert store.add(KEY, b"new", 60) is False
        assert store.put_if_current(KEY, read.mark, b"new", 60) is False
        assert redis_server.command("GET", list_keys(redis_server, prefix)[0]) == later
    assert "later version" in lines[0]["reason"]


def test_no_copy_is_current_of_a_kind_whose_changes_nobody_announces(redis_server: RedisServer) -> None:
    with opened(redis_server.url) as store:
        store.put("login:x", b"", 60)
        found = store.find("login:x")
        assert found is not None
        assert not store.is_current("login:x", found.mark)


def test_a_copy_ends_with_the_lifetime_of_its_record(redis_server: RedisServer) -> None:
    clock = SteppedClock(NOON)
    with opened(redis_server.url, clock) as store:
        store.put(KEY, b"", 60)
        found = store.find(KEY)
        assert found is not None
        assert store.is_current(KEY, found.mark)
        clock.step(60)
        assert not store.is_current(KEY, found.mark)


# Who is let in


def test_a_wrong_password_is_a_store_that_does_not_answer_and_is_not_told(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_redis_with_users(tmp_path_factory.mktemp("acl"), f"user bff on >{SECRET}x ~* &* +@all") as server:
        with opened(f"redis://bff:{SECRET}@127.0.0.1:{server.port}") as store:
            with pytest.raises(StoreUnavailableError) as failure:
                store.find(KEY)
            assert failure.value.internal_reason == f"find: 127.0.0.1:{server.port} answered WRONGPASS"
            assert SECRET not in f"{failure.value!r} {store!r} {vars(store)!r}"
        with opened(server.url) as store, pytest.raises(StoreUnavailableError) as failure:
            store.find(KEY)
        assert failure.value.internal_reason == f"find: 127.0.0.1:{server.port} answered NOAUTH"
        with opened(f"redis://:{ADMIN_PASSWORD}@127.0.0.1:{server.port}") as store:
            store.check()


def use_everything(store: RedisStateStore) -> None:
    store.check()
    store.put(KEY, b"1", 60, durable=True)
    assert store.find(KEY)
    [read] = store.find_together(KEY)
    assert read is not None
    store.put(KEY, b"2", 60)
    assert not store.put_if_current(KEY, read.mark, b"3", 60)
    assert store.add(OTHER, b"1", 60)
    assert store.take(OTHER) == b"1"
    store.put(OTHER, b"", 0)
    store.delete(KEY, durable=True)
    assert store.increment("limit:x", 60) == 1
    store.add_member("sessions-of-user:x", "m", 60)
    assert store.members("sessions-of-user:x") == {"m"}
    store.remove_member("sessions-of-user:x", "m")
    with store.lock("refresh:x", 0) as held:
        assert held.is_held()
    store.schedule("refresh", "m", 0)
    for claim in store.claim_due("refresh", limit=1, lease_seconds=60):
        store.settle("refresh", claim)
    store.start()
    assert store.listener.wait_until_hearing(30)


def read_documented_rule(password: str) -> str:
    [line] = [line for line in HOW_TO.read_text().splitlines() if line.startswith("user bff ")]
    return line.replace("long-random-password", password)


def test_the_documented_user_may_do_all_that_is_needed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("acl")
    with (
        running_redis_with_users(folder, read_documented_rule(SECRET)) as server,
        opened(f"redis://bff:{SECRET}@127.0.0.1:{server.port}", key_prefix="bff:", retries=0) as store,
        capture_logs() as lines,
    ):
        use_everything(store)
    assert lines == []


def test_a_user_who_may_not_announce_changes_fails_the_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("acl")
    with (
        running_redis_with_users(folder, read_documented_rule(SECRET).replace("&bff:changes", "")) as server,
        opened(f"redis://bff:{SECRET}@127.0.0.1:{server.port}", key_prefix="bff:") as store,
    ):
        with pytest.raises(StoreUnavailableError) as failure:
            store.check()
        assert failure.value.internal_reason == f"check: 127.0.0.1:{server.port} answered NOPERM"


def test_a_certificate_of_a_stranger_is_not_trusted(tls_redis: RedisServer) -> None:
    with opened(tls_redis.url) as store:  # trusts the system's authorities only
        with pytest.raises(StoreUnavailableError) as failure:
            store.check()
        assert "has a certificate that is not trusted" in failure.value.internal_reason


def test_a_certificate_of_another_name_is_not_trusted(tls_redis: RedisServer) -> None:
    with opened(f"rediss://localhost:{tls_redis.port}", ca_file=str(tls_redis.tls_ca_file)) as store:
        with pytest.raises(StoreUnavailableError) as failure:
            store.check()
        assert "has a certificate that is not trusted" in failure.value.internal_reason


def test_plain_text_is_not_spoken_where_tls_was_asked_for(redis_server: RedisServer) -> None:
    with opened(f"rediss://127.0.0.1:{redis_server.port}", retries=0) as store, pytest.raises(StoreUnavailableError):
        store.check()


def test_a_server_that_is_no_redis_is_told_as_such(tls_redis: RedisServer) -> None:
    with opened(f"redis://127.0.0.1:{tls_redis.port}", retries=0) as store, pytest.raises(StoreUnavailableError):
        store.check()


def look_everywhere(store: RedisStateStore) -> None:
    for number in range(20):
        store.find(f"login:{number}")


def test_a_cluster_behind_a_plain_url_is_explained(cluster: object) -> None:
    url = str(getattr(cluster, "url", "")).replace("redis+cluster://", "redis://").partition(",")[0]
    with opened(url) as store, pytest.raises(StoreUnavailableError) as failure:
        look_everywhere(store)
    assert "redis+cluster:// is needed" in failure.value.internal_reason


# Building


def test_a_store_is_built_without_connecting_to_anything(tmp_path: Path) -> None:
    settings = SessionSettings.model_validate(
        {"store": "redis", "redis_url": f"redis://:{SECRET}@127.0.0.1:{free_port()}"}
    )
    store = build_state_store(settings, SteppedClock())
    assert isinstance(store, RedisStateStore)
    with pytest.raises(StoreUnavailableError):
        store.check()
    store.close()
    directory = SessionSettings.model_validate({"directory": str(tmp_path / "state")})
    assert isinstance(build_state_store(directory, SteppedClock()), DirectoryStateStore)


@pytest.mark.parametrize("url", ["", "redis://", f"redis://:{SECRET}@a,b"])
def test_a_url_that_is_not_one_is_refused_at_the_start(url: str) -> None:
    settings = SessionSettings.model_validate({"store": "redis", "redis_url": url})
    with pytest.raises(RedisUrlError) as refusal:
        build_state_store(settings, SteppedClock())
    assert SECRET not in str(refusal.value)


def test_a_ca_file_that_is_missing_is_noticed_at_the_start(tmp_path: Path) -> None:
    settings = SessionSettings.model_validate(
        {"store": "redis", "redis_url": "rediss://redis", "redis": {"ca_file": str(tmp_path / "none.pem")}}
    )
    with pytest.raises(FileNotFoundError):
        build_state_store(settings, SteppedClock())


def test_keys_are_hashed_where_a_lock_is_named_after_a_session(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with opened(redis_server.url, key_prefix=prefix) as store, store.lock(KEY, 0):
        assert list_keys(redis_server, prefix) == [f"{prefix}lock:{{{hashlib.sha256(KEY.encode()).hexdigest()}}}"]


def test_the_epoch_of_decisions_is_not_read_with_every_call(redis_server: RedisServer) -> None:
    """It is asked for in each call with a decision, so a worker has to be able to keep a copy of it."""
    with opened(redis_server.url) as store:
        epoch = DecisionEpoch(store, local_cache_seconds=60, clock=lambda: NOON)
        first = epoch.get()
        before = count_reads(redis_server)
        assert {epoch.get() for _ in range(10)} == {first}
        assert count_reads(redis_server) == before
        epoch.advance()
        assert epoch.get() != first


def count_reads(server: RedisServer) -> int:
    return int(server.read_section("commandstats")["cmdstat_get"]["calls"])
