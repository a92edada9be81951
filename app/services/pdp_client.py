"""Asks the policy decision point over AuthZEN 1.0.

An answer in bounded time or `PdpUnavailableError`: attempts are few, waits between them grow, all of them together have
a limit, and a decision point that fails again and again is left alone for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Literal, TypeVar

from app.core.errors import CircuitOpenError, PdpUnavailableError
from app.observability import logs
from app.services.circuit_breaker import CircuitBreaker
from app.services.control_http import ControlAnswer, ControlHttp, ControlUnreachableError
from app.services.pdp_answers import Decision, PdpAnswerError, parse_evaluation_answer, parse_evaluations_answer
from app.services.pdp_credentials import PdpCredentials, PdpCredentialsError
from app.services.pdp_endpoints import PdpEndpointsFinder
from app.settings.schema.pdp_file import PdpRetry

Parsed = TypeVar("Parsed")
LastOutcome = Literal["unknown", "ok", "unavailable"]

NO_BATCHES_SECONDS = 600
"""For so long a decision point that has no batch endpoint is asked one by one, before it is looked for again."""

_MISSING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})

log = logs.get_logger(__name__)


class _AttemptFailedError(Exception):
    """One attempt brought no decision. `is_worth_another`: the next one might."""

    def __init__(self, reason: str, *, is_worth_another: bool, status: int = 0) -> None:
        super().__init__(reason)
        self.is_worth_another = is_worth_another
        self.status = status
        """0 when no answer came."""


class _NoSuchEndpointError(Exception):
    """The decision point answers, and has nothing at this address."""


class PdpClient:
    """One instance serves all requests of a worker."""

    def __init__(
        self,
        *,
        http: ControlHttp,
        endpoints: PdpEndpointsFinder,
        credentials: PdpCredentials,
        retry: PdpRetry,
        breaker: CircuitBreaker,
        pause: Callable[[float], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`pause` waits that many seconds. One attempt takes at most what `http` was built with."""
        self._http = http
        self._endpoints = endpoints
        self._credentials = credentials
        self._retry = retry
        self._breaker = breaker
        self._pause = pause
        self._monotonic = monotonic
        self._has_batches_from = float("-inf")
        self.last_outcome: LastOutcome = "unknown"
        """What the last question showed."""

    @property
    def has_batches(self) -> bool:
        """False once the decision point was found to have no batch endpoint, until it is looked for again."""
        return self._monotonic() >= self._has_batches_from

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        """Asks one encoded question (`core.permissions.encode_question`); raises `PdpUnavailableError`."""
        return self._ask(self._endpoints.find().evaluation, question, request_id, parse_evaluation_answer)

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:
        """Asks several encoded questions at once and returns their decisions in order; raises `PdpUnavailableError`.

        One by one where the decision point has no batch endpoint, which AuthZEN 1.0 leaves to it (§10).
        """
        if not self.has_batches:
            return self._evaluate_each(questions, request_id)
        body = b'{"evaluations":[' + b",".join(questions) + b"]}"
        try:
            return self._ask(
                self._endpoints.find().batch,
                body,
                request_id,
                lambda answer: parse_evaluations_answer(answer, len(questions)),
                may_be_missing=True,
            )
        except _NoSuchEndpointError as error:
            log.warning("pdp.no_batch_endpoint", reason=str(error), seconds=NO_BATCHES_SECONDS)
            self._has_batches_from = self._monotonic() + NO_BATCHES_SECONDS
        return self._evaluate_each(questions, request_id)

    def _evaluate_each(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:
        give_up_at = self._monotonic() + self._retry.max_timeout
        decisions: list[Decision] = []
        for question in questions:
            if decisions and self._monotonic() >= give_up_at:
                raise _refuse("the decision point takes too long for so many questions one by one")
            decisions.append(self.evaluate(question, request_id))
        return decisions

    def _ask(
        self,
        url: str,
        body: bytes,
        request_id: str,
        parse: Callable[[ControlAnswer], Parsed],
        *,
        may_be_missing: bool = False,
    ) -> Parsed:
        try:
            is_trial = self._breaker.admit()
        except CircuitOpenError as error:
            raise PdpUnavailableError(internal_reason="the decision point failed repeatedly") from error
        try:
            answer = self._ask_repeatedly(url, body, request_id)
        except _AttemptFailedError as error:
            # Only what says something about the decision point, not what one question brought on itself.
            (self._breaker.fail if error.is_worth_another else self._breaker.succeed)(is_trial)
            if may_be_missing and error.status in _MISSING:
                raise _NoSuchEndpointError(str(error)) from error
            if error.status != HTTPStatus.BAD_REQUEST:  # which is about the question
                self.last_outcome = "unavailable"
            raise _refuse(str(error)) from error
        except BaseException:
            self._breaker.abandon(is_trial)
            raise
        self._breaker.succeed(is_trial)
        try:
            parsed = parse(answer)
        except PdpAnswerError as error:
            self.last_outcome = "unavailable"
            raise _refuse(f"the decision point's answer is refused: {error}") from error
        self.last_outcome = "ok"
        return parsed

    def _ask_repeatedly(self, url: str, body: bytes, request_id: str) -> ControlAnswer:
        give_up_at = self._monotonic() + self._retry.max_timeout
        attempt = 0
        while True:
            try:
                return self._attempt(url, body, request_id, give_up_at - self._monotonic())
            except _AttemptFailedError as error:
                wait_seconds = self._retry.backoff_factor * 2**attempt
                is_in_time = self._monotonic() + wait_seconds < give_up_at
                if not error.is_worth_another or attempt >= self._retry.max_retries or not is_in_time:
                    raise
            self._pause(wait_seconds)
            attempt += 1

    def _attempt(self, url: str, body: bytes, request_id: str, seconds_left: float) -> ControlAnswer:
        """Sends once, or twice where the credentials had gone stale."""
        answer = self._send(url, body, request_id, seconds_left)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._credentials.forget():
            answer = self._send(url, body, request_id, seconds_left)
        if answer.status in self._retry.retry_status_codes:
            raise _build_failure(answer, is_worth_another=True)
        if answer.status != HTTPStatus.OK:
            # 400: it does not like the question; 401 and 403: it does not know us. An operator has to look.
            raise _build_failure(answer, is_worth_another=False)
        return answer

    def _send(self, url: str, body: bytes, request_id: str, seconds_left: float) -> ControlAnswer:
        try:
            headers = {**self._credentials.get_headers(), "X-Request-ID": request_id}
            return self._http.fetch("POST", url, headers=headers, json_text=body, total_seconds=seconds_left)
        except PdpCredentialsError as error:
            raise _AttemptFailedError(str(error), is_worth_another=True) from error
        except ControlUnreachableError as error:
            raise _AttemptFailedError(f"the decision point: {error}", is_worth_another=True) from error


def _build_failure(answer: ControlAnswer, *, is_worth_another: bool) -> _AttemptFailedError:
    reason = f"the decision point answers {answer.status}"
    return _AttemptFailedError(reason, is_worth_another=is_worth_another, status=answer.status)


def _refuse(reason: str) -> PdpUnavailableError:
    log.warning("pdp.unavailable", reason=reason)
    return PdpUnavailableError(internal_reason=reason)
