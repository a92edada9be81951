"""Where a login or a logout may send the browser, by the settings of this deployment."""

from __future__ import annotations

from app.core.return_url import check_return_to
from app.settings import Settings


def check_return_address(raw: str, settings: Settings) -> str:
    """Returns the address unchanged; raises `UnsafeReturnToError`. Asked at the start of a way and again at its end."""
    allowed = (*settings.server.allowed_hosts, *settings.cors.allow_origins)
    return check_return_to(raw, own_origin=settings.server.origin, allowed_origins=allowed)
