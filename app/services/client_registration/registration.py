"""The registration as one worker sees it: which client it is, and a thread that sees to it that there is one.

Which client it is costs no I/O: it is held, and the thread takes over within seconds what another worker or another
machine has got. A start never waits for the provider, and without a client everything works that needs none.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Literal

from app.core.errors import IdpUnavailableError, StoreUnavailableError
from app.observability import logs
from app.services.client_registration.problems import Problem, ProblemCode
from app.services.client_registration.record import RegistrationRecord, RegistrationStore, StoredClient
from app.services.client_registration.registrar import Outcome, Registrar
from app.services.oidc_metadata import ProviderMetadata
from app.services.private_document import PrivateDocumentError

RegistrationStatus = Literal["ok", "attention", "unregistered"]
"""`attention`: there is a client, and something about it that an operator should look at."""

NOT_REGISTERED = "Logins are not possible yet: this BFF is not registered at the identity provider."
LOOK_SECONDS = 5.0
_BUSY_SECONDS = 1.0
_FIRST_BACK_OFF_SECONDS, _LONGEST_BACK_OFF_SECONDS = 1.0, 60.0
_PROBLEM_BACK_OFF_SECONDS = 300.0
"""For what an operator has to put right: it may be done at the provider, without a word to us."""
_TRUST_AT_START_SECONDS, _TRUST_LATER_SECONDS = 10.0, 240.0
"""What another worker found so lately is taken over: when all start, or all come back to a problem, one of them asks
the provider."""

log = logs.get_logger(__name__)


class ClientRegistration:
    """One a worker."""

    def __init__(
        self,
        store: RegistrationStore,
        registrar: Registrar,
        *,
        issuer: str,
        find_provider: Callable[[], ProviderMetadata | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find_provider` gives the provider's metadata if they can be had without asking it."""
        self._store = store
        self._registrar = registrar
        self._issuer = issuer
        self._find_provider = find_provider
        self._monotonic = monotonic
        self._client: StoredClient | None = None
        self._problem: Problem | None = None
        self._due_at = float("-inf")
        self._failures = 0
        self._ensured_fingerprint = ""
        self._stopping = threading.Event()

    def get_client_id(self) -> str:
        """Returns the client's id; raises `IdpUnavailableError` while there is none.

        While this worker knows none it looks each time: another one may have registered it just now, and a login costs
        more than the look.
        """
        if self._client is None:
            self.follow()
        if self._client is None:
            raise IdpUnavailableError(NOT_REGISTERED, internal_reason=f"not registered: {self._problem or 'not yet'}")
        return self._client.client_id

    def check(self) -> RegistrationStatus:
        """Tells how it stands, from what this worker knows."""
        if self._client is None:
            return "unregistered"
        return "attention" if self._problem is not None and not self._problem.is_temporary else "ok"

    def read(self) -> RegistrationRecord:
        """Returns what is stored. Raises `PrivateDocumentError` or `StoreUnavailableError`."""
        return self._store.load()

    def follow(self) -> None:
        """Takes over what is stored. Does not fail: what is held stays."""
        try:
            record = self._store.load()
        except PrivateDocumentError as error:
            self._note_problem(Problem(ProblemCode.RECORD_UNUSABLE, str(error)))
        except StoreUnavailableError as error:
            self._note_problem(Problem(ProblemCode.STORE_UNAVAILABLE, error.internal_reason))
        else:
            self._client = record.find_client(self._issuer) or self._client
            if (problem := record.find_problem()) is not None or self._client is not None:
                self._note_problem(problem)

    def ensure(self, *, anew: bool = False) -> Outcome:
        """Registers, or brings up to date, here and now; for the command line."""
        outcome = self._registrar.ensure(anew=anew, wait_seconds=30)
        if outcome.problem is None or not outcome.problem.is_temporary:
            self.follow()  # else what is stored is older than what was met just now
        return outcome

    # The background

    def start(self) -> threading.Thread:
        """Begins to look, at once; to be called in a worker, after the fork."""
        thread = threading.Thread(target=self._run, name="client-registration", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends it at the next opportunity; does not wait."""
        self._stopping.set()

    def look(self) -> float:
        """Takes over what others did, and does what is due; returns in how many seconds to look again."""
        self.follow()
        if self._monotonic() < self._due_at and not self._is_wanted_otherwise():
            return LOOK_SECONDS
        is_start = self._due_at == float("-inf")
        outcome = self._registrar.ensure(trust_seconds=_TRUST_AT_START_SECONDS if is_start else _TRUST_LATER_SECONDS)
        if outcome.is_busy:
            return _BUSY_SECONDS
        self.follow()
        self._plan(outcome.problem)
        self._tell(outcome)
        return min(LOOK_SECONDS, max(self._due_at - self._monotonic(), 0.1))

    def _run(self) -> None:
        pause_seconds = 0.0
        # Workers start together; spread, they seldom reach for the lock at the same moment.
        while not self._stopping.wait(pause_seconds * random.uniform(0.8, 1.0)):  # noqa: S311
            try:
                pause_seconds = self.look()
            except Exception as error:
                log.exception("client_registration.crashed", error_type=type(error).__name__)
                pause_seconds = _LONGEST_BACK_OFF_SECONDS

    def _is_wanted_otherwise(self) -> bool:
        """Whether something has changed that the client is registered with, such as the algorithm of our keys."""
        if not self._ensured_fingerprint:
            return False
        return self._build_fingerprint() not in ("", self._ensured_fingerprint)

    def _build_fingerprint(self) -> str:
        """Empty while it cannot be known."""
        provider = self._find_provider()
        try:
            return self._registrar.build_wanted_fingerprint(provider) if provider else ""
        except StoreUnavailableError:
            return ""

    def _plan(self, problem: Problem | None) -> None:
        self._ensured_fingerprint = self._build_fingerprint()
        if problem is None:
            self._failures, self._due_at = 0, float("inf")
            return
        self._failures += 1
        back_off = _PROBLEM_BACK_OFF_SECONDS
        if problem.is_temporary:
            back_off = min(_FIRST_BACK_OFF_SECONDS * 2 ** min(self._failures - 1, 10), _LONGEST_BACK_OFF_SECONDS)
        self._due_at = self._monotonic() + back_off * random.uniform(0.8, 1.0)  # noqa: S311

    def _tell(self, outcome: Outcome) -> None:
        if outcome.change != "none" and self._client is not None:
            log.info("client_registration.done", change=outcome.change, client_id=self._client.client_id)
        if outcome.problem is not None:
            self._note_problem(outcome.problem)
        elif self._registrar.has_token:
            log.warning(
                "client_registration.initial_access_token_still_set",
                next_step="Remove DCR_IAT (oidc.dcr.initial_access_token): the client is registered, and the token is "
                "of no more use here.",
            )

    def _note_problem(self, problem: Problem | None) -> None:
        """Says each problem once."""
        if problem is not None and problem != self._problem:
            say = log.warning if problem.is_temporary else log.error
            say(
                "client_registration.problem",
                problem=problem.code.value,
                reason=problem.reason,
                next_step=problem.next_step,
                has_client=self._client is not None,
            )
        self._problem = problem
