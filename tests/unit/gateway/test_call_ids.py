"""The ids of calls whose client brought none: well formed, never the same, not in two processes either."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

from app.core.headers import choose_correlation_id, choose_traceparent
from app.gateway.call_ids import make_request_id, make_traceparent


def test_no_request_id_comes_twice() -> None:
    made = [make_request_id() for _ in range(2000)]

    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


def test_no_traceparent_comes_twice() -> None:
    made = [make_traceparent() for _ in range(2000)]

    assert len({each[3:35] for each in made}) == len(made)
    assert len({each[36:52] for each in made}) == len(made)
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", each) for each in made)


def test_what_is_made_is_what_would_be_taken_from_a_client() -> None:
    request_id, traceparent = make_request_id(), make_traceparent()

    assert choose_correlation_id(request_id, str) == request_id
    assert choose_traceparent(traceparent, str) == traceparent


@pytest.mark.parametrize("make", [make_request_id, make_traceparent])
def test_a_forked_child_gives_out_none_of_its_parents_ids(make: Callable[[], str]) -> None:
    make()  # from now on there are some at hand
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(make() for _ in range(100)).encode("ascii"))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        childs = set(pipe.read().split())

    assert len(childs) == 100
    assert not childs & {make() for _ in range(100)}
