"""Where the decision point is asked: as `pdp.yaml` says, or as its metadata say (AuthZEN 1.0 §9).

Metadata are optional: without any (404, or no answer) the configured paths are used. Metadata of another decision point
are refused, and with them every question, until somebody has looked. A path that the deployer changed is kept; one
that stands at its default gives way to what the metadata name, on the same origin.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from app.core.errors import PdpUnavailableError
from app.observability import logs
from app.services.control_http import ControlHttp, ControlUnreachableError
from app.services.pdp_answers import PdpAnswerError, parse_metadata_answer
from app.settings.schema.pdp_file import PdpEndpoints

GOOD_FOR_SECONDS = 600
TRY_AGAIN_SECONDS = 30

_DEFAULTS = PdpEndpoints()
_MEMBERS = {
    "evaluation": "access_evaluation_endpoint",
    "batch": "access_evaluations_endpoint",
    "search_actions": "search_action_endpoint",
}

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PdpUrls:
    """Absolute URLs."""

    evaluation: str
    batch: str
    search_actions: str


class PdpEndpointsFinder:
    """One a worker. Metadata are looked at with the first question and then every ten minutes."""

    def __init__(
        self, base_url: str, endpoints: PdpEndpoints, *, http: ControlHttp, monotonic: Callable[[], float]
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._endpoints = endpoints
        self._http = http
        self._monotonic = monotonic
        self._urls = self._build_urls({})
        self._refusal = ""
        self._look_again_at = 0.0
        self._looking = threading.Lock()

    def find(self) -> PdpUrls:
        """Returns where to ask; raises `PdpUnavailableError` when the metadata are not those of our decision point."""
        if self._monotonic() >= self._look_again_at and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        if self._refusal:
            raise PdpUnavailableError(internal_reason=self._refusal)
        return self._urls

    def fetch_metadata(self) -> Mapping[str, str]:
        """Returns the endpoints its metadata name; raises `ControlUnreachableError` or `PdpAnswerError`.

        The mapping is empty when it publishes none (404).
        """
        answer = self._http.fetch("GET", self._base_url + self._endpoints.metadata)
        if answer.status == HTTPStatus.NOT_FOUND:
            return {}
        return parse_metadata_answer(answer, self._base_url)

    def _look(self) -> None:
        good_for = GOOD_FOR_SECONDS
        try:
            self._urls = self._build_urls(self.fetch_metadata())
            self._refusal = ""
        except ControlUnreachableError as error:
            good_for = TRY_AGAIN_SECONDS  # the question itself will show whether it is down
            log.warning("pdp.metadata_unreachable", reason=str(error))
        except PdpAnswerError as error:
            good_for = TRY_AGAIN_SECONDS
            self._refusal = f"the decision point's metadata are refused: {error}"
            log.error("pdp.metadata_refused", reason=str(error))
        self._look_again_at = self._monotonic() + good_for

    def _build_urls(self, named: Mapping[str, str]) -> PdpUrls:
        return PdpUrls(**{key: self._choose_url(key, named.get(member, "")) for key, member in _MEMBERS.items()})

    def _choose_url(self, key: str, named: str) -> str:
        path: str = getattr(self._endpoints, key)
        is_same_origin = urlsplit(named)[:2] == urlsplit(self._base_url)[:2]
        if named and is_same_origin and path == getattr(_DEFAULTS, key):
            return named
        return self._base_url + path
