"""The record of a registration: damaged, sealed with a key that is gone, or changed by another process."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.client_registration.problems import ProblemCode
from app.services.client_registration.record import RegistrationStore
from app.services.client_registration.registration_client import RegistrationClient
from app.services.key_ring import KeyRing
from app.services.private_document import DocumentFile
from tests.unit.services.client_registration.registration_world import ENDPOINT, PROVIDER, SETTINGS, World, move, world

__all__ = ["world"]


@pytest.mark.parametrize("content", [b"{", b'{"version": 9}', b'{"client": {"client_id": 7}}', b"\xff"])
def test_a_damaged_record_is_left_alone(world: World, content: bytes) -> None:
    world.path.parent.mkdir(mode=0o700)
    world.path.touch(0o600)
    world.path.write_bytes(content)
    assert world.register() == ProblemCode.RECORD_UNUSABLE
    assert world.calls == []
    assert world.path.read_bytes() == content


def test_a_token_sealed_with_a_key_that_is_gone_leaves_the_client(world: World) -> None:
    world.register()
    world.store = RegistrationStore(
        DocumentFile(world.path, holds="the client registration"), KeyRing([b"o" * 31 + b"y"])
    )
    assert world.build().ensure().problem is None
    world.settings = move(SETTINGS)
    outcome = world.build().ensure()
    assert outcome.problem is not None
    assert outcome.problem.code == ProblemCode.UPDATE_REFUSED
    assert len(world.calls) == 1


def test_a_record_that_another_process_changed_meanwhile_is_not_overwritten(world: World) -> None:
    """As when the lease of the lock ran out: the attempt of the other one stands."""
    other = world.build(token="token-of-another-process")
    create = RegistrationClient.create

    def create_after_the_other(*arguments: Any) -> Any:
        registrar._client.create = create.__get__(registrar._client)  # type: ignore[method-assign]
        other._register(world.record(), world.wanted, PROVIDER)
        return registrar._client.create(*arguments)

    registrar = world.build()
    registrar._client.create = create_after_the_other  # type: ignore[assignment]
    with world.answering("POST", ENDPOINT, 201, world.answer()):
        outcome = registrar.ensure()
    assert outcome.is_busy
    assert len(world.calls) == 2
    client = world.record().client
    assert client is not None
