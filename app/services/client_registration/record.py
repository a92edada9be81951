"""What is remembered of the registration: one small private document beside the signing keys.

It holds the client, the last attempt to get one, and the hashes of the initial access tokens that were sent. An attempt
is written down before anything is sent: whoever finds it without an end knows that a process was killed, or an answer
lost, and that the token may be spent. The registration access token lies sealed in it, wherever the document lies.

New fields come with a default and need no new version: an older worker skips them.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from app.services.client_registration.problems import Problem, ProblemCode
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.private_document import PrivateDocument, PrivateDocumentError

FORMAT_VERSION = 1
MOST_TOKEN_HASHES = 100
PROBLEM_CODES = frozenset(code.value for code in ProblemCode)

AttemptOutcome = Literal["unknown", "registered", "token_refused", "metadata_refused", "answer_refused"]


class StoredAttempt(msgspec.Struct, frozen=True):
    """A registration that was sent, or was about to be."""

    started_at: float
    token_hash: str
    outcome: AttemptOutcome = "unknown"
    reason: str = ""


class StoredClient(msgspec.Struct, frozen=True):
    """The client as it was registered."""

    issuer: str
    client_id: str
    registered_at: float
    registration_client_uri: str = ""
    sealed_token: bytes = b""
    """The registration access token."""
    asked: dict[str, object] = {}
    granted: dict[str, object] = {}
    """What the provider made of the members in `asked`."""
    updated_at: float | None = None


class StoredProblem(msgspec.Struct, frozen=True):
    code: str
    reason: str


class StoredCheck(msgspec.Struct, frozen=True):
    """The last time that somebody compared the client with what is wanted, or tried to get one."""

    at: float
    fingerprint: str
    problem: StoredProblem | None = None


class RegistrationRecord(msgspec.Struct, frozen=True):
    version: int = FORMAT_VERSION
    client: StoredClient | None = None
    attempt: StoredAttempt | None = None
    spent_token_hashes: tuple[str, ...] = ()
    check: StoredCheck | None = None

    def find_client(self, issuer: str) -> StoredClient | None:
        """The client at this provider; one of another provider is no client of this one."""
        return self.client if self.client is not None and self.client.issuer == issuer else None

    def find_problem(self) -> Problem | None:
        stored = self.check.problem if self.check else None
        return Problem(ProblemCode(stored.code), stored.reason) if stored and stored.code in PROBLEM_CODES else None


class RecordChangedError(Exception):
    """Somebody else changed the record although the lock was ours: a lock that was lost meanwhile."""


class RegistrationStore:
    """Reads and replaces the record. Raises `PrivateDocumentError` and `StoreUnavailableError`."""

    def __init__(self, document: PrivateDocument, key_ring: KeyRing) -> None:
        self._document = document
        self._key_ring = key_ring

    @property
    def place(self) -> str:
        return self._document.place

    def load(self) -> RegistrationRecord:
        return self._parse(self._document.read())

    def save(self, before: RegistrationRecord, after: RegistrationRecord) -> RegistrationRecord:
        """Replaces `before`, and nothing else, with `after`; raises `RecordChangedError` when that is not there."""

        def edit(content: bytes | None) -> bytes | None:
            if self._parse(content) != before:
                raise RecordChangedError
            return msgspec.json.format(msgspec.json.encode(after)) if after != before else None

        self._document.change(edit)
        return after

    def seal_token(self, client_id: str, token: str) -> bytes:
        return self._key_ring.seal(token.encode(), _bind(client_id)) if token else b""

    def open_token(self, client: StoredClient) -> str:
        """Raises `SealBrokenError`; empty: there is none."""
        if not client.sealed_token:
            return ""
        try:
            return self._key_ring.open(client.sealed_token, _bind(client.client_id)).decode()
        except UnicodeDecodeError:
            raise SealBrokenError("it is no text") from None

    def is_token_sealed_by_first(self, client: StoredClient) -> bool:
        return self._key_ring.is_sealed_by_first(client.sealed_token)

    def _parse(self, content: bytes | None) -> RegistrationRecord:
        if content is None:
            return RegistrationRecord()
        try:
            record = msgspec.json.decode(content, type=RegistrationRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PrivateDocumentError(
                f"{self.place} is damaged ({type(error).__name__}). Restore it, or move it away and register anew with "
                "a fresh initial access token."
            ) from None
        if record.version > FORMAT_VERSION:
            raise PrivateDocumentError(
                f"{self.place} has format {record.version}, and this version of the BFF reads {FORMAT_VERSION}."
            )
        return record


def hash_token(initial_access_token: str) -> str:
    return hashlib.sha256(b"initial access token\0" + initial_access_token.encode()).hexdigest()


def _bind(client_id: str) -> str:
    return f"registration-access-token:{client_id}"
