"""What Prometheus reads: every metric's name, labels and meaning, and one method for each thing that is counted.

Labels come from configuration or from closed sets, never from a request: an unknown method counts as OTHER. The
numbers live in `cells`, shared by all workers of a machine, because prometheus_client's own multiprocess mode costs
3.7–3.9 µs an update and these cost 0.2–0.3. docs/reference/metrics.md lists the same names; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from app.observability.cells import Cells, Metric

_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

CALLS = Metric("bff_calls_total", "counter", "Calls answered.", ("route", "method", "status"))
CALL_DURATION = Metric(
    "bff_call_duration_seconds",
    "histogram",
    "From the head of a call until its answer was out.",
    ("route",),
    _SECONDS_BUCKETS,
)
UPSTREAM_DURATION = Metric(
    "bff_upstream_duration_seconds",
    "histogram",
    "From the call to a backend until its answer began.",
    ("service",),
    _SECONDS_BUCKETS,
)
REFUSALS = Metric("bff_refusals_total", "counter", "Calls answered with an error of ours.", ("code",))
LOGINS = Metric("bff_logins_total", "counter", "Logins that came to an end.", ("outcome",))
LOGOUTS = Metric("bff_logouts_total", "counter", "Logouts.")
SESSIONS_ENDED = Metric("bff_sessions_ended_total", "counter", "Sessions that were ended.", ("reason",))
TOKEN_REFRESHES = Metric(
    "bff_token_refreshes_total", "counter", "Attempts to refresh or exchange a user's token.", ("outcome",)
)
BACKGROUND_RENEWALS = Metric(
    "bff_background_renewals_total", "counter", "Sessions whose tokens the background took care of.", ("outcome",)
)
DECISIONS = Metric("bff_decisions_total", "counter", "Questions whether a user may do something.", ("outcome",))
ACCESS_RECORDS_DROPPED = Metric(
    "bff_access_records_dropped_total", "counter", "Log lines lost because nobody read stdout."
)
STORE_ERRORS = Metric("bff_store_errors_total", "counter", "Times the session store did not answer.")
CALLS_IN_PROGRESS = Metric("bff_calls_in_progress", "gauge", "Calls being answered right now.")
TUNNELS_OPEN = Metric("bff_tunnels_open", "gauge", "WebSockets that are open right now.")
ENFORCEMENT_OFF = Metric(
    "bff_enforcement_off_workers", "gauge", "Workers that let calls pass without a decision (pdp.enabled: false)."
)

ALL_METRICS = (
    CALLS,
    CALL_DURATION,
    UPSTREAM_DURATION,
    REFUSALS,
    LOGINS,
    LOGOUTS,
    SESSIONS_ENDED,
    TOKEN_REFRESHES,
    BACKGROUND_RENEWALS,
    DECISIONS,
    ACCESS_RECORDS_DROPPED,
    STORE_ERRORS,
    CALLS_IN_PROGRESS,
    TUNNELS_OPEN,
    ENFORCEMENT_OFF,
)

GAUGES = frozenset(metric.name for metric in ALL_METRICS if metric.kind == "gauge")

shared_directory: Path | None = None
"""Where the workers of this machine keep their cells; gunicorn.conf.py sets it before it forks. None: not shared."""


class Metrics:
    """One per process; made after the fork."""

    def __init__(self, directory: Path | None = None) -> None:
        self._cells = Cells(directory)
        self._in_progress = self._cells.find_place(CALLS_IN_PROGRESS)
        self._places: dict[tuple[str, str, int], tuple[int, int]] = {}
        """Of a call's counter and duration, by route, method and status: routes are few, and so are the others."""
        self._upstream_places: dict[str, int] = {}

    def observe_call(self, route_id: str, method: str, status: int, seconds: float) -> None:
        """Counts an answered call; `route_id` names a route or an endpoint of ours, or is empty: nothing matched."""
        places = self._places.get((route_id, method, status)) or self._find_places(route_id, method, status)
        self._cells.add_at(places[0])
        self._cells.observe_at(places[1], _SECONDS_BUCKETS, seconds)

    def _find_places(self, route_id: str, method: str, status: int) -> tuple[int, int]:
        route, is_known = route_id or "-", method in _METHODS
        places = (
            self._cells.find_place(CALLS, (route, method if is_known else "OTHER", str(int(status)))),
            self._cells.find_place(CALL_DURATION, (route,)),
        )
        if is_known:  # a method that somebody made up must not stay in memory
            self._places[route_id, method, status] = places
        return places

    def observe_upstream(self, service: str, seconds: float) -> None:
        place = self._upstream_places.get(service)
        if place is None:
            place = self._upstream_places[service] = self._cells.find_place(UPSTREAM_DURATION, (service,))
        self._cells.observe_at(place, _SECONDS_BUCKETS, seconds)

    def count_refusal(self, code: str) -> None:
        """Counts an error of ours by its `code` (app/core/errors.py)."""
        self._cells.add(REFUSALS, (code,))

    def count_login(self, outcome: str) -> None:
        """`outcome`: completed, failed or refused."""
        self._cells.add(LOGINS, (outcome,))

    def count_logout(self) -> None:
        self._cells.add(LOGOUTS)

    def count_session_ended(self, reason: str) -> None:
        self._cells.add(SESSIONS_ENDED, (reason,))

    def count_token_refresh(self, outcome: str) -> None:
        """`outcome`: completed, failed (the provider could not answer), refused, or ended (and with it the session)."""
        self._cells.add(TOKEN_REFRESHES, (outcome,))

    def count_background_renewal(self, outcome: str) -> None:
        """`outcome`: done, dropped (nothing to renew any more) or failed (tried again later)."""
        self._cells.add(BACKGROUND_RENEWALS, (outcome,))

    def count_decision(self, outcome: str) -> None:
        """`outcome`: allowed, denied, failed (no answer), remembered (not asked anew), shared (another worker had
        asked) or off (nothing is asked)."""
        self._cells.add(DECISIONS, (outcome,))

    def count_access_record_dropped(self) -> None:
        self._cells.add(ACCESS_RECORDS_DROPPED)

    def count_store_error(self) -> None:
        self._cells.add(STORE_ERRORS)

    def start_call(self) -> None:
        self._cells.add_at(self._in_progress)

    def end_call(self) -> None:
        self._cells.add_at(self._in_progress, -1.0)

    def note_enforcement_off(self) -> None:
        """Once a worker."""
        self._cells.add(ENFORCEMENT_OFF)

    def count_tunnels(self, more: int) -> None:
        """`more` is 1 for one that opens and -1 for one that is over."""
        self._cells.add(TUNNELS_OPEN, amount=float(more))

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Returns content type and text of what all workers counted together."""
        return self._cells.render(ALL_METRICS, accept)
