"""A browser as far as the BFF can tell, without a browser: cookies, Fetch Metadata, Origin, the CSRF token.

    alice = BrowserClient(bff.origin)
    alice.log_in("alice")
    alice.post("/api/crud/forms", json={"title": "x"})

What it does not do (SameSite, CORS, storage) is for the tests in tests/browser.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urljoin

import requests

from tests.support.opwalk import walk

UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CALL_HEADERS = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
NAVIGATION_HEADERS = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
TIMEOUT_SECONDS = 30


class BrowserClient:
    """One browser profile: what it logs in stays logged in until `log_out` or `forget`."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.http = requests.Session()
        self.http.trust_env = False
        self.csrf_token = ""
        self.secrets: set[str] = set()  # every cookie and CSRF token it ever had

    def __enter__(self) -> BrowserClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def log_in(self, user: str = "alice", *, return_to: str = "/") -> requests.Response:
        """Go through login, consent and callback; returns the callback's answer and remembers the CSRF token."""
        callback_url = self.walk_to_callback(user, return_to=return_to)
        answer = self.navigate(callback_url, site="cross-site")
        assert answer.status_code in (200, 303), f"{answer.status_code} {answer.text[:500]}"
        session = self.get_session()
        assert session.status_code == 200, session.text
        self.csrf_token = session.json()["csrf_token"]
        self.secrets.add(self.csrf_token)
        return answer

    def walk_to_callback(self, user: str = "alice", *, return_to: str = "/") -> str:
        """Go through login and consent; return the callback URL, with its code unspent."""
        start = self.navigate(f"/auth/login?return_to={quote(return_to)}", site="none")
        assert start.status_code == 302, f"{start.status_code} {start.text[:500]}"
        return walk(self.http, start.headers["Location"], stop_at=f"{self.origin}/auth/callback", login=user)

    def get_session(self) -> requests.Response:
        return self.get("/api/auth/session")

    def is_logged_in(self) -> bool:
        return self.get_session().status_code == 200

    def log_out(self) -> str | None:
        """Log out at the BFF; returns the `logout_url` that the page would go to next."""
        answer = self.post("/auth/logout")
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
        logout_url: str | None = answer.json()["logout_url"]
        return logout_url

    def navigate(self, url: str, *, site: str = "same-origin") -> requests.Response:
        """What the address bar or a link does; redirects are not followed."""
        headers = {**NAVIGATION_HEADERS, "Sec-Fetch-Site": site}
        return self._send("GET", url, headers, {})

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)

    def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """What the page's fetch() does."""
        sent = dict(CALL_HEADERS)
        if method in UNSAFE_METHODS:
            sent |= {"Origin": self.origin, "X-CSRF-Token": self.csrf_token}
        return self._send(method, path, {**sent, **(headers or {})}, options)

    def session_cookie(self, name: str = "bff_session") -> str:
        value = self.http.cookies.get(name)
        assert value, f"no cookie {name}"
        return value

    def _send(self, method: str, url: str, headers: dict[str, str], options: dict[str, Any]) -> requests.Response:
        options.setdefault("timeout", TIMEOUT_SECONDS)
        address = urljoin(self.origin, url)
        answer = self.http.request(method, address, headers=headers, allow_redirects=False, **options)
        self.secrets.update(cookie.value for cookie in answer.cookies if cookie.value)
        return answer
