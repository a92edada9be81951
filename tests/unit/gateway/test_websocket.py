"""How a tunnel ends: by either side, by us with a goodbye, and without one where a frame is only half through."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from app.core.websocket import GOING_AWAY, FrameTracker, build_close_frame
from app.gateway.call import Call
from app.gateway.websocket import CUT_AFTER_SECONDS, Tunnel, Tunnels

FRAME = b"\x82\x05hello"
HALF_A_FRAME = FRAME[:4]
MASKED_FRAME = b"\x81\x82maskhi"


class World:
    """A tunnel between two sockets that a test holds the far ends of."""

    def __init__(self, at_hand: bytes = b"", **limits: float) -> None:
        self.client, client_side = socket.socketpair()
        self.backend, backend_side = socket.socketpair()
        self.sides = (client_side, backend_side)
        for far_end in (self.client, self.backend):
            far_end.settimeout(10)
        self.call = cast("Call", SimpleNamespace(bytes_in=0, bytes_out=0, is_cut_off=False, error_code=""))
        timing = {"stall_seconds": 10.0, "idle_seconds": 600.0, **limits}
        self.tunnel = Tunnel(backend_side, at_hand, self.call, monotonic=time.monotonic, **timing)
        self.thread = threading.Thread(target=self.tunnel.run, args=(client_side,), daemon=True)
        self.thread.start()

    def wait_for_end(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive()

    def close(self) -> None:
        for end in (self.client, self.backend, *self.sides):
            end.close()
        self.wait_for_end()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def receive_all(end: socket.socket) -> bytes:
    received = b""
    while piece := end.recv(65536):
        received += piece
    return received


def send_without_end(end: socket.socket) -> None:
    while True:
        end.sendall(FRAME * 1000)


def test_what_came_with_the_heads_comes_first() -> None:
    world = World(at_hand=FRAME)
    assert world.client.recv(100) == FRAME
    world.close()


def test_bytes_pass_and_are_counted(world: World) -> None:
    world.client.sendall(MASKED_FRAME)
    assert world.backend.recv(100) == MASKED_FRAME
    world.backend.sendall(FRAME)
    assert world.client.recv(100) == FRAME
    world.backend.close()
    assert receive_all(world.client) == b""
    world.wait_for_end()
    assert (world.call.bytes_in, world.call.bytes_out) == (len(MASKED_FRAME), len(FRAME))
    assert world.call.is_cut_off, "nobody said goodbye"


def test_an_end_with_a_goodbye_is_no_abort(world: World) -> None:
    world.backend.sendall(build_close_frame(1000, ""))
    world.backend.close()
    assert receive_all(world.client) == b"\x88\x02\x03\xe8"
    world.wait_for_end()
    assert not world.call.is_cut_off


def test_the_end_of_a_session_is_told_to_both(world: World) -> None:
    world.backend.sendall(FRAME)
    assert world.client.recv(100) == FRAME
    world.tunnel.end_with_admission("session_expired")
    world.tunnel.end(GOING_AWAY, "once is enough")
    assert receive_all(world.client) == b"\x88\x11\x03\xf0session_expired"
    world.client.close()
    to_backend = receive_all(world.backend)
    tracker = FrameTracker()
    tracker.take(to_backend)
    assert tracker.has_closed
    assert len(to_backend) == 8
    world.wait_for_end()
    assert (world.call.error_code, world.call.is_cut_off) == ("session_expired", True)


def test_half_a_frame_is_followed_by_no_goodbye_but_by_the_end(world: World) -> None:
    world.backend.sendall(HALF_A_FRAME)
    world.client.sendall(MASKED_FRAME[:3])
    assert world.client.recv(100) == HALF_A_FRAME
    assert world.backend.recv(100) == MASKED_FRAME[:3]
    world.tunnel.end_with_admission("session_expired")
    assert receive_all(world.client) == b""
    assert receive_all(world.backend) == b""
    world.wait_for_end()


def test_a_reader_who_does_not_read_does_not_keep_it_open(world: World) -> None:
    world.backend.settimeout(0.2)
    with pytest.raises(TimeoutError):
        send_without_end(world.backend)
    ended_at = time.monotonic()
    world.tunnel.end_with_admission("session_expired")
    world.wait_for_end()
    assert time.monotonic() - ended_at < CUT_AFTER_SECONDS + 2


def test_who_takes_nothing_for_too_long_is_cut_off() -> None:
    world = World(stall_seconds=0.2)
    world.backend.settimeout(5)
    with pytest.raises(BrokenPipeError):
        send_without_end(world.backend)
    world.wait_for_end()
    world.close()


def test_a_tunnel_in_which_nothing_happens_is_ended() -> None:
    world = World(stall_seconds=0.05, idle_seconds=0.3)
    world.backend.sendall(FRAME)
    assert receive_all(world.client) == FRAME + b"\x88\x06\x03\xe9idle"
    world.close()


def test_an_end_that_comes_late_changes_nothing(world: World) -> None:
    world.client.close()
    world.wait_for_end()
    world.tunnel.end_with_admission("session_expired")
    assert receive_all(world.backend) == b""


def test_who_ends_it_first_says_why(world: World) -> None:
    world.tunnel.end(GOING_AWAY, "going_away")
    world.tunnel.end_with_admission("session_expired")
    assert receive_all(world.client) == b"\x88\x0c\x03\xe9going_away"
    world.client.close()
    world.wait_for_end()
    assert world.call.error_code == ""


def test_all_open_ones_are_told_when_the_worker_stops(world: World) -> None:
    counted: list[int] = []
    tunnels = Tunnels(counted.append)
    tunnels.add(world.tunnel)
    tunnels.tell_going_away()
    tunnels.tell_going_away()
    assert receive_all(world.client) == b"\x88\x0c\x03\xe9going_away"
    world.client.close()
    world.wait_for_end()
    tunnels.remove(world.tunnel)
    assert counted == [1, -1]
