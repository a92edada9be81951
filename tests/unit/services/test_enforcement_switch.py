"""Enforcement that is off is counted with every call and said again every minute."""

from __future__ import annotations

from collections import Counter

from app.services.enforcement_switch import SAY_AGAIN_SECONDS, EnforcementSwitch
from tests.unit.hooks.conftest import captured
from tests.unit.observability.captured_lines import CapturedLines

__all__ = ["captured"]


def test_while_it_is_on_nothing_passes_unasked(captured: CapturedLines) -> None:
    counted = Counter[str]()
    switch = EnforcementSwitch(is_on=True, count=lambda outcome: counted.update([outcome]), monotonic=lambda: 0.0)
    assert not switch.lets_pass()
    assert (counted, captured.of("event")) == ({}, [])


def test_while_it_is_off_everything_is_counted_and_it_is_said_once_a_minute(captured: CapturedLines) -> None:
    counted = Counter[str]()
    now = 1000.0
    switch = EnforcementSwitch(is_on=False, count=lambda outcome: counted.update([outcome]), monotonic=lambda: now)
    assert all(switch.lets_pass() for _ in range(5))
    assert switch.lets_pass(questions=3)
    now += SAY_AGAIN_SECONDS
    assert switch.lets_pass()
    assert counted == {"off": 9}
    said = captured.of("event")
    assert [(line["event"], line["level"]) for line in said] == [("pdp.enforcement_off", "error")] * 2
    assert [line["passed_unasked"] for line in said] == [1, 8]
