"""When a worker looks at the registration again, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import responses

from app.core.errors import IdpUnavailableError
from app.services.client_registration.registration import LOOK_SECONDS, ClientRegistration
from app.services.oidc_metadata import ProviderMetadata
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured
from tests.unit.services.client_registration.registration_world import (
    CLIENT_URI,
    ENDPOINT,
    ISSUER,
    PROVIDER,
    World,
    move,
    world,
)

__all__ = ["captured", "world"]


class Worker:
    """The registration of one worker, with a clock that the test turns."""

    def __init__(self, world: World) -> None:
        self.now = 0.0
        self.known: ProviderMetadata | None = PROVIDER
        self.registration = ClientRegistration(
            world.store,
            world.build(),
            issuer=ISSUER,
            find_provider=lambda: self.known,
            monotonic=lambda: self.now,
        )

    def look(self, after_seconds: float = 0) -> float:
        self.now += after_seconds
        return self.registration.look()


@pytest.fixture
def worker(world: World) -> Worker:
    return Worker(world)


def test_a_provider_that_is_away_is_tried_again_at_growing_intervals(world: World, worker: Worker) -> None:
    world.provider = None
    pauses = []
    for _ in range(10):
        worker.look(1000)
        pauses.append(worker.registration._due_at - worker.now)
    assert 0.8 <= pauses[0] <= 1.0
    assert pauses[0] < pauses[2] < pauses[4]
    assert max(pauses) <= 60


def test_a_problem_is_said_once_and_again_when_it_is_another(
    world: World, worker: Worker, captured: CapturedLines
) -> None:
    world.provider = None
    for _ in range(3):
        worker.look(1000)
    world.provider = PROVIDER
    with world.answering("POST", ENDPOINT, 400, {"error": "invalid_client_metadata"}):
        for _ in range(3):
            world.now += 1000
            worker.look(1000)
    said = [line for line in captured.of("event") if line["event"] == "client_registration.problem"]
    assert [line["problem"] for line in said] == ["provider_unavailable", "metadata_refused"]
    assert [line["level"] for line in said] == ["warning", "error"], "the first heals by itself"
    assert len(world.calls) == 3, "the provider's policy may have changed meanwhile"
    assert [line["problem"] for line in captured.of("audit")] == ["metadata_refused"]


def test_with_a_client_it_asks_nobody_until_something_changes(world: World, worker: Worker) -> None:
    with world.answering("POST", ENDPOINT, 201, world.answer()):
        worker.look()
    for _ in range(3):
        assert worker.look(10_000) == LOOK_SECONDS
    assert len(world.calls) == 1

    had = world.answer()
    world.settings = move(world.settings)
    with responses.RequestsMock() as network:
        network.get(CLIENT_URI, json=had)
        network.put(CLIENT_URI, json=world.answer())
        worker.look(LOOK_SECONDS)


def test_another_worker_takes_the_client_over_at_once(world: World, worker: Worker) -> None:
    with pytest.raises(IdpUnavailableError, match="not registered"):
        worker.registration.get_client_id()
    world.register()
    assert worker.registration.get_client_id() == "c-1"


def test_a_client_that_is_known_is_kept_while_the_record_cannot_be_read(world: World, worker: Worker) -> None:
    world.register()
    worker.registration.follow()
    world.path.write_bytes(b"{")
    worker.registration.follow()
    assert worker.registration.get_client_id() == "c-1"
    assert worker.registration.check() == "attention"

    world.path.unlink()
    worker.registration.follow()
    assert worker.registration.get_client_id() == "c-1"


def test_while_another_process_is_at_it_a_worker_comes_back_soon(world: World, worker: Worker) -> None:
    with world.state.lock("client-registration", 0):
        assert worker.look() <= 1
    assert world.calls == []


def test_a_client_of_another_provider_is_none_of_this_one(world: World, tmp_path: Path) -> None:
    world.register()
    other = ClientRegistration(
        world.store, world.build(), issuer="https://other.example.com", find_provider=lambda: None
    )
    with pytest.raises(IdpUnavailableError):
        other.get_client_id()
    assert other.check() == "unregistered"
    assert tmp_path in world.path.parents
