"""The ids of calls whose client brought none: well formed, never the same, not in two processes either."""

from __future__ import annotations

import os
import re

from app.core.headers import choose_correlation_id, choose_traceparent
from app.gateway.call_ids import make_request_id, make_traceparent


def test_no_request_id_comes_twice() -> None:
    made = [make_request_id() for _ in range(2000)]

    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in made)


def test_what_is_made_is_what_would_be_taken_from_a_client() -> None:
    request_id, traceparent = make_request_id(), make_traceparent()

    assert choose_correlation_id(request_id, str) == request_id
    assert choose_traceparent(traceparent, str) == traceparent


def test_a_forked_child_gives_out_none_of_its_parents_ids() -> None:
    make_request_id()  # from now on there are some at hand
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(make_request_id() for _ in range(100)).encode("ascii"))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    childs = {told[place : place + 32] for place in range(0, len(told), 32)}

    assert len(childs) == 100
    assert not childs & {make_request_id() for _ in range(100)}
