"""Whether a login is fresh and strong enough for a route (step-up authentication, RFC 9470). Pure, and cheap.

What is not known does not count: a login of which the provider told no `auth_time` is not fresh, one without `acr` is
not strong.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.core.errors import InsufficientUserAuthenticationError


def check_authentication(
    auth_time: float | None,
    acr: str,
    *,
    max_age_seconds: int,
    acr_values: Sequence[str],
    now: float,
    leeway_seconds: float,
) -> None:
    """Raises `InsufficientUserAuthenticationError`, which asks for all that the route wants.

    0 and an empty list ask for nothing. `auth_time` is of the provider's clock, hence the leeway on both sides.
    """
    is_fresh = not max_age_seconds or (
        auth_time is not None and -leeway_seconds <= now - auth_time <= max_age_seconds + leeway_seconds
    )
    is_strong = not acr_values or acr in acr_values
    if not is_fresh or not is_strong:
        raise InsufficientUserAuthenticationError(max_age_seconds=max_age_seconds, acr_values=acr_values)
