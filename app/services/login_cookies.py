"""The login cookies: one for each login under way in this browser, at most five (attack rows L1, L3, L4).

A cookie is named after a hash of its login's state, so that several tabs do not overwrite each other, and its value is
`<start in epoch seconds>.<secret>`. The secret proves at the callback that this is the browser the login was begun in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.cookies import SameSite, build_delete_cookie, build_set_cookie, login_cookie_name
from app.services.login_attempts import LIFETIME_SECONDS, hash_secret

MAX_LOGINS_UNDER_WAY = 5
NAME_HASH_CHARACTERS = 32
"""128 bits: enough that two logins of one browser never meet."""

VALUE_PATTERN = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class LoginCookieValue:
    """What a login cookie says."""

    started_at: int
    browser_secret: str = field(repr=False)


def parse_login_cookie(value: str) -> LoginCookieValue | None:
    """Returns None for what no login of ours ever set."""
    found = VALUE_PATTERN.fullmatch(value)
    return LoginCookieValue(int(found[1]), found[2]) if found else None


class LoginCookies:
    """Builds and finds login cookies for one deployment.

    SameSite is Lax, because the browser comes back from another site; a top-level GET still carries the cookie. A form
    that the provider's page posts (`response_mode: form_post`) carries it only with None, and that only with Secure;
    browsers take it for http://localhost too.
    """

    def __init__(self, *, https: bool, is_posted: bool = False) -> None:
        self._https = https
        self._is_secure = https or is_posted
        self._same_site: SameSite = "None" if is_posted else "Lax"

    def build_name(self, state: str) -> str:
        """Returns the name of the cookie that belongs to the login with this state."""
        return login_cookie_name(hash_secret(state)[:NAME_HASH_CHARACTERS], https=self._https)

    def build_for(self, state: str, value: LoginCookieValue) -> str:
        """Returns the `Set-Cookie` line that binds a login to this browser."""
        return build_set_cookie(
            self.build_name(state),
            f"{value.started_at}.{value.browser_secret}",
            secure=self._is_secure,
            http_only=True,
            same_site=self._same_site,
            max_age=LIFETIME_SECONDS,
        )

    def build_removal(self, name: str) -> str:
        """Returns the `Set-Cookie` line that takes a login cookie away."""
        return build_delete_cookie(name, secure=self._is_secure, http_only=True, same_site=self._same_site)

    def find_surplus(self, cookies: Mapping[str, str]) -> list[str]:
        """Returns the names of the oldest logins under way that must go so that one more makes five."""
        prefix = login_cookie_name("", https=self._https)
        under_way = [name for name in cookies if name.startswith(prefix)]
        under_way.sort(key=lambda name: _get_start(cookies[name]))
        return under_way[: max(0, len(under_way) - MAX_LOGINS_UNDER_WAY + 1)]


def _get_start(value: str) -> int:
    parsed = parse_login_cookie(value)
    return parsed.started_at if parsed else 0
