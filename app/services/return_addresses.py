"""Where a login or a logout may send the browser, by the settings of this deployment."""

from __future__ import annotations

from app.core.return_url import check_return_to
from app.settings import Settings


def check_return_address(raw: str, settings: Settings, own_origin: str) -> str:
    """Returns the address unchanged: a path on the origin addressed, or a URL on one that is ours or allowed.

    Raises `UnsafeReturnToError`. Asked at the start of a way and again at its end.
    """
    allowed = (*settings.server.origins, *settings.cors.allow_origins)
    return check_return_to(raw, own_origin=own_origin, allowed_origins=allowed)
