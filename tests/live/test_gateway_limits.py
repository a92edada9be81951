"""Who calls too often is told so, and when to come back; over both doors."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway, put_session

pytestmark = pytest.mark.live


def test_a_session_that_calls_too_often_gets_429_and_another_does_not(gateway: Gateway) -> None:
    answers = [gateway.call("GET", "/limited/x") for _ in range(5)]
    refused = [answer for answer in answers if answer.status == 429]
    assert 2 <= len(refused) <= 3, "an hour may have begun in between"
    assert {answer.code for answer in refused} == {"rate_limited"}
    assert all(0 < int(answer.get("Retry-After") or 0) <= 3600 for answer in refused)
    assert len(gateway.take_requests()) == 5 - len(refused)
    assert gateway.call("GET", "/v1/x", is_logged_in=True).status != 429
    _, other = put_session(gateway.bff)
    assert gateway.call("GET", "/limited/x", f"Cookie: bff_session={other}", is_logged_in=False).status == 200
