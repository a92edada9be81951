"""Logged-in calls, steadily, by several sessions at once over all instances of a farm; and what became of each call.

with SteadyLoad(farm) as load:
    with load.span() as fault:
        redis.kill()
        load.wait_for_each("503 store_unavailable")
    redis.start()
    load.wait_until_good()
fault.outcomes          # Counter({"503 store_unavailable": 80, "good": 12})
load.calls.longest_seconds, load.calls.by_session, load.calls.with_cookie_changes

Each session has a browser of its own and a thread that calls the instances in turn, so no call is ever in flight twice
for one session, and a call that hangs shows as one long call.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from tests.support.browser_client import BrowserClient
from tests.support.farm import COOKIE_NAME, Farm
from tests.support.processes import wait_until

GOOD = "good"
NO_ANSWER = "no answer"
SOMEBODY_ELSES = "somebody else's"
STORE_UNAVAILABLE = "503 store_unavailable"
TOKEN_UNAVAILABLE = "503 service_token_unavailable"
LOGGED_OUT = "401 session_expired"

LONGEST_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `began_at` is in seconds of `time.monotonic`."""

    session: int
    instance: int
    began_at: float
    seconds: float
    outcome: str
    """GOOD; or the status and the `X-BFF-Error` of the answer; or NO_ANSWER when the connection broke."""
    changed_cookie: bool
    """Whether the answer had a `Set-Cookie` for the session's cookie."""

    @property
    def ended_at(self) -> float:
        return self.began_at + self.seconds


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of a span of time, in the order in which they ended."""

    calls: Sequence[Call]

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(call.outcome for call in self.calls)

    @property
    def longest_seconds(self) -> float:
        return max((call.seconds for call in self.calls), default=0.0)

    @property
    def with_cookie_changes(self) -> list[Call]:
        return [call for call in self.calls if call.changed_cookie]

    @property
    def logged_out(self) -> set[int]:
        """Sessions that got a 401, of whatever kind."""
        return {call.session for call in self.calls if call.outcome.startswith("401")}

    @property
    def last_by_session(self) -> dict[int, str]:
        """What each session's newest call came to."""
        return {call.session: call.outcome for call in self.calls}

    def find_first(self, outcome: str) -> Call | None:
        return next((call for call in self.calls if call.outcome == outcome), None)

    def find_others(self, allowed: Collection[str]) -> list[Call]:
        """What should not have been."""
        return [call for call in self.calls if call.outcome not in allowed]

    def since(self, moment: float) -> Calls:
        """Calls that began at that moment or later."""
        return Calls([call for call in self.calls if call.began_at >= moment])


class SteadyLoad:
    """Logs `sessions` users in, and calls `path` for each of them from `with` to its end."""

    def __init__(
        self,
        farm: Farm,
        *,
        sessions: int = 6,
        path: str = "/api/profile/whoami",
        pause_seconds: float = 0.05,
        timeout_seconds: float = 60,
    ) -> None:
        """`path` has to answer as the demo's `/whoami` does. `pause_seconds` lie between the calls of a session, and
        `timeout_seconds` is how long a call may hang at all."""
        self._farm = farm
        self._path = path
        self._pause_seconds = pause_seconds
        self._timeout_seconds = timeout_seconds
        self._everybody = frozenset(range(sessions))
        self._browsers = [farm.log_in(f"user{number}") for number in range(sessions)]
        self._headers = [farm.build_headers(browser) for browser in self._browsers]
        self._calls: list[Call] = []  # appended to by all threads; list.append is atomic
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(sessions)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        try:
            self.wait_until_good()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def browsers(self) -> Sequence[BrowserClient]:
        """By session number, logged in."""
        return self._browsers

    @property
    def calls(self) -> Calls:
        """All so far."""
        return Calls(self._calls[:])

    @contextmanager
    def span(self) -> Iterator[Calls]:
        """Gives what holds, once the block has ended, the calls that were under way at some time during it."""
        seen, first, began_at = list[Call](), len(self._calls), time.monotonic()
        yield Calls(seen)
        ended_at = time.monotonic()
        # A session's calls follow one another: once one has begun later, those that were under way are all known.
        self._wait(lambda calls: _find_sessions(calls) == self._everybody, "the calls under way to end", None)
        seen += [call for call in self._calls[first:] if call.ended_at >= began_at and call.began_at <= ended_at]

    def wait_for_each(self, outcome: str, *, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Until every session has had a call that began after this moment and came to that."""

        def have_had_it(calls: Sequence[Call]) -> bool:
            return _find_sessions(call for call in calls if call.outcome == outcome) == self._everybody

        self._wait(have_had_it, f"a call of each session to be {outcome}", timeout_seconds)

    def wait_for_each_to_be(self, *outcomes: str, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Until the newest call of each session has come to one of these."""

        def are_there(calls: Sequence[Call]) -> bool:
            newest = Calls(calls).last_by_session
            return newest.keys() == self._everybody and set(newest.values()) <= set(outcomes)

        self._wait(are_there, f"each session's calls to be {' or '.join(outcomes)}", timeout_seconds)

    def wait_for_any(self, outcome: str, *, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._wait(
            lambda calls: any(call.outcome == outcome for call in calls), f"a call to be {outcome}", timeout_seconds
        )

    def wait_until_good(self, *, timeout_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Until the newest call of each session is good, at each of the instances."""
        places = {(session, place) for session in self._everybody for place in range(len(self._farm.instances))}

        def are_good(calls: Sequence[Call]) -> bool:
            newest = {(call.session, call.instance): call.outcome for call in calls}
            return newest.keys() == places and set(newest.values()) == {GOOD}

        self._wait(are_good, "every session's calls to be good at all instances", timeout_seconds)

    def log_in_again(self, sessions: Collection[int]) -> None:
        """In the same browsers; their calls go on with the new cookie."""
        for session in sessions:
            self._browsers[session].log_in(f"user{session}")
            self._headers[session] = self._farm.build_headers(self._browsers[session])

    def _wait(self, condition: Callable[[Sequence[Call]], bool], what: str, timeout_seconds: float | None) -> None:
        """Until the calls that began after this moment fulfil the condition. What came instead is in the error."""
        first, moment = len(self._calls), time.monotonic()

        def find_new() -> list[Call]:
            return [call for call in self._calls[first:] if call.began_at >= moment]

        try:
            wait_until(
                lambda: condition(find_new()), timeout_seconds=timeout_seconds or self._timeout_seconds + 1, what=what
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; there were {Calls(find_new()).outcomes}") from error

    def _stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, session: int) -> None:
        instance = session
        with requests.Session() as http:
            http.trust_env = False
            while not self._stopping.wait(self._pause_seconds):
                instance = (instance + 1) % len(self._farm.instances)
                self._calls.append(self._call(http, session, instance))

    def _call(self, http: requests.Session, session: int, instance: int) -> Call:
        url = f"http://127.0.0.1:{self._farm.instances[instance].port}{self._path}"
        began_at, changed_cookie = time.monotonic(), False
        try:
            answer = http.get(url, headers=self._headers[session], timeout=self._timeout_seconds, allow_redirects=False)
        except requests.RequestException:
            outcome = NO_ANSWER
        else:
            outcome = _name_outcome(answer, user=f"user{session}")
            changed_cookie = f"{COOKIE_NAME}=" in answer.headers.get("Set-Cookie", "")
        return Call(session, instance, began_at, time.monotonic() - began_at, outcome, changed_cookie)


def _find_sessions(calls: Iterable[Call]) -> frozenset[int]:
    return frozenset(call.session for call in calls)


def _name_outcome(answer: requests.Response, *, user: str) -> str:
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.headers.get('X-BFF-Error', '')}".rstrip()
    return GOOD if answer.json()["headers"]["X-User-ID"] == user else SOMEBODY_ELSES
