"""The log says so when Redis came back without what it held, and only then."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.redis_engine.support import KEY, new_prefix, opened
from tests.unit.services.state_store.redis_engine.test_listener import start


def list_events(lines: list[object]) -> list[str]:
    return [str(line["event"]) for line in lines if isinstance(line, dict)]


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_a_restart_is_told_from_a_loss(tmp_path_factory: pytest.TempPathFactory, appendonly: str) -> None:
    folder = tmp_path_factory.mktemp("redis")
    with running_redis(folder, appendonly=appendonly, appendfsync="always") as server, opened(server.url) as store:
        start(store)
        store.put(KEY, b"value", 60)
        wait_for(lambda: server.command("KEYS", "*store:*"), "the name to be left")
        with capture_logs() as lines:
            server.kill()
            wait_for(lambda: not store.listener.is_hearing(), "the loss of the connection")
            server.start()
            assert store.listener.wait_until_hearing(30)
            wait_for(lambda: server.command("KEYS", "*store:*"), "the name to be looked for")
            wait_for(lambda: len(lines) >= (2 if appendonly == "yes" else 3), "all to be said")
    assert ("store.came_back_empty" in list_events([*lines])) == (appendonly == "no")


def test_the_first_start_is_no_loss(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    with capture_logs() as lines:
        for _ in range(2):
            with opened(redis_server.url, key_prefix=prefix) as store:
                start(store)
                wait_for(lambda: redis_server.command("EXISTS", f"{prefix}store:{{name}}"), "the name to be left")
    assert list_events([*lines]) == []
