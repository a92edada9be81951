"""Gets a client when there is none (RFC 7591), and has the one there is looked after. One process at a time.

An attempt is written down, then the initial access token is sent, then what came of it is written down. Nothing here
registers a second client unasked: one that the provider does not know any more is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from app.core.errors import IdpUnavailableError, StoreUnavailableError
from app.observability import audit, logs
from app.services.client_registration.answers import (
    ClientAnswer,
    ClientNotAsAskedError,
    RegistrationFailedError,
    RegistrationNotNowError,
    RegistrationRefusedError,
    build_trusted_origins,
    check_as_asked,
)
from app.services.client_registration.client_metadata import build_fingerprint, select_members
from app.services.client_registration.client_upkeep import Change, ClientUpkeep
from app.services.client_registration.problems import Problem, ProblemCode, ProblemError
from app.services.client_registration.record import (
    MOST_TOKEN_HASHES,
    AttemptOutcome,
    RecordChangedError,
    RegistrationRecord,
    RegistrationStore,
    StoredAttempt,
    StoredCheck,
    StoredClient,
    StoredProblem,
    hash_token,
)
from app.services.client_registration.registration_client import RegistrationClient
from app.services.control_http import ControlNotSentError, ControlUnreachableError
from app.services.oidc_answers import AnswerRefusedError
from app.services.oidc_metadata import ProviderMetadata
from app.services.private_document import PrivateDocumentError
from app.services.state_store import StateStore

LOCK = "client-registration"
_NOTHING_WAS_DONE = (ControlNotSentError, RegistrationNotNowError)

_NO_CLIENT = (ControlUnreachableError, RegistrationFailedError, RegistrationRefusedError, AnswerRefusedError)
_REFUSED: Mapping[AttemptOutcome, ProblemCode] = {
    "token_refused": ProblemCode.TOKEN_REFUSED,
    "answer_refused": ProblemCode.ANSWER_REFUSED,
}

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a look at the registration."""

    problem: Problem | None = None
    change: Change = "none"
    is_busy: bool = False
    """Another process is at it."""


class Registrar:
    """Safe to call from every worker of every machine at once."""

    def __init__(
        self,
        store: RegistrationStore,
        client: RegistrationClient,
        *,
        state_store: StateStore,
        issuer: str,
        initial_access_token: str,
        get_provider: Callable[[], ProviderMetadata],
        build_wanted: Callable[[ProviderMetadata], dict[str, object]],
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """`get_provider` raises `IdpUnavailableError`; `timeout_seconds` is that of one exchange."""
        self._store = store
        self._client = client
        self._upkeep = ClientUpkeep(store, client, issuer=issuer, clock=clock)
        self._state_store = state_store
        self._issuer = issuer
        self._initial_access_token = initial_access_token
        self._token_hash = hash_token(initial_access_token) if initial_access_token else ""
        self._get_provider = get_provider
        self._build_wanted = build_wanted
        # Discovery, a read and a write, and what the store itself may take.
        self._lease_seconds = timeout_seconds * 4 + 60
        self._clock = clock

    @property
    def has_token(self) -> bool:
        return bool(self._token_hash)

    def build_wanted_fingerprint(self, provider: ProviderMetadata) -> str:
        """Changes when there is a reason to look at the registration again."""
        return build_fingerprint({**self._build_wanted(provider), "token": self._token_hash})

    def ensure(self, *, anew: bool = False, trust_seconds: float = 0, wait_seconds: float = 0) -> Outcome:
        """Sees to it that there is a client, and that it is as the settings want it. Does not fail.

        `anew`: registers a new one, whatever is stored, also with a token that was sent before. `trust_seconds`: what
        somebody else found so lately is taken as it is.
        """
        try:
            with self._state_store.lock(LOCK, wait_seconds, self._lease_seconds) as hold:
                return self._ensure(anew=anew, trust_seconds=trust_seconds) if hold else Outcome(is_busy=True)
        except RecordChangedError:
            return Outcome(is_busy=True)
        except StoreUnavailableError as error:
            reason = f"The store of the registration does not answer ({error.internal_reason})."
            return Outcome(Problem(ProblemCode.STORE_UNAVAILABLE, reason))
        except PrivateDocumentError as error:
            return Outcome(Problem(ProblemCode.RECORD_UNUSABLE, str(error)))

    def _ensure(self, *, anew: bool, trust_seconds: float) -> Outcome:
        record = self._store.load()
        client = record.find_client(self._issuer)
        if anew and client is not None and not self.has_token:
            # Nothing is wrong with the client there is, so nothing is written down.
            reason = "A new client needs an initial access token, and there is none. The present client stays."
            return Outcome(Problem(ProblemCode.NO_TOKEN, reason))
        fingerprint = ""
        try:
            if client is None or anew:
                self._check_token(record, anew=anew)
            provider = self._find_provider()
            fingerprint = self.build_wanted_fingerprint(provider)
            if not anew and self._was_checked(record, fingerprint, trust_seconds):
                return Outcome(record.find_problem())
            wanted = self._build_wanted(provider)
            if client is None or anew:
                change = self._register(record, wanted, provider)
            else:
                change = self._upkeep.keep(record, client, wanted, provider)
        except ProblemError as error:
            self._note(fingerprint, error.problem)
            return Outcome(error.problem)
        self._note(fingerprint, None)
        return Outcome(change=change)

    def _find_provider(self) -> ProviderMetadata:
        try:
            return self._get_provider()
        except IdpUnavailableError as error:
            reason = f"The provider cannot be reached ({error.internal_reason})."
            raise ProblemError(ProblemCode.PROVIDER_UNAVAILABLE, reason) from error

    def _was_checked(self, record: RegistrationRecord, fingerprint: str, trust_seconds: float) -> bool:
        check = record.check
        if check is None or check.fingerprint != fingerprint:
            return False
        return 0 <= self._clock() - check.at < trust_seconds

    def _check_token(self, record: RegistrationRecord, *, anew: bool) -> None:
        """Raises unless there is a token that may be sent."""
        attempt = record.attempt
        is_open = attempt is not None and attempt.outcome == "unknown"
        if attempt is not None and is_open and not anew and self._token_hash in ("", attempt.token_hash):
            raise ProblemError(ProblemCode.OUTCOME_UNKNOWN, _tell_unknown(attempt))
        if not self._token_hash:
            raise ProblemError(
                ProblemCode.NO_TOKEN, "There is no client yet, and no initial access token to get one with."
            )
        if anew or self._token_hash not in record.spent_token_hashes:
            return
        if attempt is not None and attempt.token_hash == self._token_hash:
            if attempt.outcome == "metadata_refused":
                return  # for what was asked with it: the token is as good as before
            if attempt.outcome in _REFUSED:
                raise ProblemError(_REFUSED[attempt.outcome], attempt.reason)
        raise ProblemError(
            ProblemCode.TOKEN_SPENT, "The initial access token was sent to a provider before, and is not sent again."
        )

    def _register(self, before: RegistrationRecord, wanted: dict[str, object], provider: ProviderMetadata) -> Change:
        endpoint = provider.registration_endpoint
        if not endpoint:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED, "The provider's metadata names no registration_endpoint (RFC 7591)."
            )
        attempt = StoredAttempt(self._clock(), self._token_hash)
        sent = self._store.save(before, _add_attempt(before, attempt))
        try:
            trusted = build_trusted_origins(endpoint, self._issuer)
            answer = self._client.create(endpoint, self._initial_access_token, wanted, trusted)
            check_as_asked(answer, wanted)
        except _NOTHING_WAS_DONE as error:
            self._store.save(sent, before)
            reason = f"The registration endpoint cannot be used now ({error})."
            raise ProblemError(ProblemCode.PROVIDER_UNAVAILABLE, reason) from error
        except (
            ControlUnreachableError,
            RegistrationFailedError,
            AnswerRefusedError,
            RegistrationRefusedError,
        ) as error:
            attempt, problem = _judge_failure(attempt, error)
            self._store.save(sent, replace(sent, attempt=attempt))
            raise ProblemError(problem.code, problem.reason) from error
        client = self._build_client(answer, wanted)
        attempt = replace(attempt, outcome="registered")
        self._store.save(sent, replace(sent, client=client, attempt=attempt, check=None))
        _tell_registered(client)
        return "registered"

    def _build_client(self, answer: ClientAnswer, wanted: dict[str, object]) -> StoredClient:
        token = answer.registration_access_token if answer.is_managed else ""
        return StoredClient(
            issuer=self._issuer,
            client_id=answer.client_id,
            registered_at=self._clock(),
            registration_client_uri=answer.registration_client_uri if answer.is_managed else "",
            sealed_token=self._store.seal_token(answer.client_id, token),
            asked=wanted,
            granted=select_members(answer.document, wanted),
        )

    def _note(self, fingerprint: str, problem: Problem | None) -> None:
        """Remembers what was found, for everybody, unless it will be otherwise in a moment."""
        if problem is not None and problem.is_temporary:
            return
        record = self._store.load()
        if problem is not None and problem != record.find_problem():
            audit.record("registration.failed", problem=problem.code.value, reason=problem.reason)
        stored = StoredProblem(problem.code.value, problem.reason) if problem else None
        check = StoredCheck(self._clock(), fingerprint, stored)
        self._store.save(record, replace(record, check=check))


def _add_attempt(record: RegistrationRecord, attempt: StoredAttempt) -> RegistrationRecord:
    others = tuple(known for known in record.spent_token_hashes if known != attempt.token_hash)
    return replace(record, attempt=attempt, spent_token_hashes=(*others, attempt.token_hash)[-MOST_TOKEN_HASHES:])


def _judge_failure(attempt: StoredAttempt, error: Exception) -> tuple[StoredAttempt, Problem]:
    """What became of an attempt that got no client which can be used. An answer that was lost or makes no sense leaves
    open whether there is one."""
    if isinstance(error, ClientNotAsAskedError):
        code, outcome = ProblemCode.ANSWER_REFUSED, "answer_refused"
        reason = f"The provider made the client {error.client_id}, which must not be used: {error}."
    elif isinstance(error, RegistrationRefusedError) and error.is_about_token:
        code, outcome = ProblemCode.TOKEN_REFUSED, "token_refused"
        reason = f"The provider does not accept the initial access token ({error})."
    elif isinstance(error, RegistrationRefusedError):
        code, outcome = ProblemCode.METADATA_REFUSED, "metadata_refused"
        reason = f"The provider refuses the registration ({error})."
    else:
        attempt = replace(attempt, reason=str(error))
        return attempt, Problem(ProblemCode.OUTCOME_UNKNOWN, _tell_unknown(attempt))
    return replace(attempt, outcome=outcome, reason=reason), Problem(code, reason)


def _tell_registered(client: StoredClient) -> None:
    audit.record("client.registered", client_id=client.client_id, issuer=client.issuer)
    if not client.sealed_token:
        log.warning(
            "client_registration.unmanaged",
            client_id=client.client_id,
            meaning="the provider offers no way to read or change the client (RFC 7592): changes are made there",
        )


def _tell_unknown(attempt: StoredAttempt) -> str:
    began = datetime.fromtimestamp(attempt.started_at, UTC).isoformat(timespec="seconds")
    how = f" ({attempt.reason})" if attempt.reason else ""
    return f"Of the registration that began at {began} nobody knows whether it made a client: its answer was lost{how}."
