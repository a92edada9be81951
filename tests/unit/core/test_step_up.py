"""Step-up (RFC 9470): what a session must show for a route that asks for more than a login."""

from __future__ import annotations

import pytest

from app.core.errors import InsufficientUserAuthenticationError
from app.core.step_up import check_authentication

NOW = 1_700_000_000.0


def check(
    auth_time: float | None = NOW, acr: str = "", *, max_age_seconds: int = 0, acr_values: tuple[str, ...] = ()
) -> None:
    check_authentication(
        auth_time, acr, max_age_seconds=max_age_seconds, acr_values=acr_values, now=NOW, leeway_seconds=30
    )


@pytest.mark.parametrize("auth_time", [NOW, NOW - 300, NOW - 330, NOW + 30])
def test_a_login_that_is_young_enough_passes(auth_time: float) -> None:
    check(auth_time, max_age_seconds=300)


@pytest.mark.parametrize(
    "auth_time",
    [
        pytest.param(NOW - 331, id="too-old"),
        pytest.param(None, id="missing"),
        pytest.param(NOW + 31, id="in-the-future"),
        pytest.param(0, id="epoch"),
    ],
)
def test_a_login_that_is_not_known_to_be_young_is_refused(auth_time: float | None) -> None:
    with pytest.raises(InsufficientUserAuthenticationError):
        check(auth_time, max_age_seconds=300)


def test_any_of_the_classes_will_do() -> None:
    check(acr="gold", acr_values=("silver", "gold"))


@pytest.mark.parametrize("acr", ["", "bronze", "Gold", "silver gold", "gol"])
def test_another_class_is_refused(acr: str) -> None:
    with pytest.raises(InsufficientUserAuthenticationError):
        check(acr=acr, acr_values=("silver", "gold"))


def test_both_demands_hold_and_both_are_asked_for() -> None:
    check(NOW, "gold", max_age_seconds=60, acr_values=("gold",))
    for auth_time, acr in ((NOW - 100, "gold"), (NOW, "")):
        with pytest.raises(InsufficientUserAuthenticationError) as caught:
            check(auth_time, acr, max_age_seconds=60, acr_values=("silver", "gold"))
        assert caught.value.login_parameters == (("acr_values", "silver gold"), ("max_age", "60"))
        assert dict(caught.value.headers)["WWW-Authenticate"] == (
            'Bearer error="insufficient_user_authentication", '
            'error_description="This call needs a fresh or stronger login.", acr_values="silver gold", max_age="60"'
        )


def test_where_nothing_is_asked_for_anything_passes() -> None:
    check(None, "")
