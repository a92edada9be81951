"""Work for many that is done once, and what they hear when it fails."""

from __future__ import annotations

import threading

import pytest

from app.core.errors import InternalError, ServiceTokenUnavailableError
from app.services.single_flight import SingleFlight


def test_who_comes_while_it_is_under_way_joins_and_who_comes_later_starts_anew() -> None:
    flights: SingleFlight[int] = SingleFlight()
    may_end, runs = threading.Event(), []

    def work() -> int:
        runs.append(1)
        may_end.wait(10)
        return len(runs)

    first, second = flights.join("a", work), flights.join("a", work)
    assert first is second
    assert not first.wait(0)
    may_end.set()
    assert first.wait(10)
    assert (first.get(), second.get()) == (1, 1)
    later = flights.join("a", work)
    while later is first:  # the first one's thread has to take its name back
        later = flights.join("a", work)
    assert later.wait(10)
    assert later.get() == 2


def test_other_names_do_not_wait() -> None:
    flights: SingleFlight[str] = SingleFlight()
    may_end = threading.Event()
    slow = flights.join("slow", lambda: str(may_end.wait(10)))
    quick = flights.join("quick", lambda: "done")
    assert quick.wait(10)
    assert quick.get() == "done"
    assert not slow.wait(0)
    may_end.set()


def test_a_refusal_is_raised_to_each_as_an_instance_of_its_own() -> None:
    def work() -> str:
        raise ServiceTokenUnavailableError(internal_reason="no")

    flight = SingleFlight[str]().join("a", work)
    assert flight.wait(10)
    raised = []
    for _ in range(2):
        with pytest.raises(ServiceTokenUnavailableError) as caught:
            flight.get()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].internal_reason == "no"


def test_a_crash_is_an_internal_error_that_names_its_type_and_nothing_else() -> None:
    flight = SingleFlight[str]().join("a", lambda: {"token": "x"}["secret-name"])
    assert flight.wait(10)
    with pytest.raises(InternalError) as caught:
        flight.get()
    assert caught.value.internal_reason == "the work crashed with KeyError"
