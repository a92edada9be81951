"""Keeps the client that is there as the settings want it: reads it back, and writes only what differs (RFC 7592).

A client that the provider does not know any more is reported, never replaced: what it was used for goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from app.observability import audit
from app.services.client_registration.answers import (
    ClientAnswer,
    ClientNotAsAskedError,
    RegistrationFailedError,
    RegistrationNotNowError,
    RegistrationRefusedError,
    build_trusted_origins,
    check_as_asked,
)
from app.services.client_registration.client_metadata import (
    ClientMetadata,
    build_update,
    find_differences,
    is_same,
    select_members,
)
from app.services.client_registration.problems import ProblemCode, ProblemError
from app.services.client_registration.record import RegistrationRecord, RegistrationStore, StoredClient
from app.services.client_registration.registration_client import RegistrationClient
from app.services.control_http import ControlUnreachableError
from app.services.key_ring import SealBrokenError
from app.services.oidc_answers import AnswerRefusedError
from app.services.oidc_metadata import ProviderMetadata

_LOST = frozenset({401, 403, 404, 410})
_UNAVAILABLE = (ControlUnreachableError, RegistrationNotNowError, RegistrationFailedError)

Change = Literal["none", "registered", "updated"]


class ClientUpkeep:
    """Called by one process at a time; the caller holds the lock."""

    def __init__(
        self, store: RegistrationStore, client: RegistrationClient, *, issuer: str, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._client = client
        self._issuer = issuer
        self._clock = clock

    def keep(
        self,
        record: RegistrationRecord,
        client: StoredClient,
        wanted: dict[str, object],
        provider: ProviderMetadata,
    ) -> Change:
        """Returns what it did to the `client` in `record`; raises `ProblemError`."""
        trusted = build_trusted_origins(provider.registration_endpoint, self._issuer)
        token = self._open_token(client, wanted)
        if not token:
            return "none"
        read = self._read(client, token, trusted)
        record, client, token = self._follow_token(record, client, token, read)
        if differing := _find_what_to_write(read.document, client, wanted):
            body = build_update(read.document, client.client_id, wanted, client.asked)
            read = self._update(client, token, body, trusted)
            record, client, token = self._follow_token(record, client, token, read)
        self._keep_answer(record, client, wanted, read, is_update=bool(differing))
        self._check_as_asked(read, wanted)
        if differing:
            audit.record("client.updated", client_id=client.client_id, members=list(differing))
        return "updated" if differing else "none"

    def _open_token(self, client: StoredClient, wanted: ClientMetadata) -> str:
        """Returns the token that reads and writes the client; empty when there is none and nothing to write."""
        try:
            if token := self._store.open_token(client):
                return token
            reason = "The provider offers no way to change a client (RFC 7592)"
        except SealBrokenError as error:
            reason = f"The registration access token cannot be opened ({error})"
        differing = find_differences(client.asked, wanted, client.asked)
        if differing:
            reason += f", and the settings now ask for other values of {', '.join(differing)}."
            raise ProblemError(ProblemCode.UPDATE_REFUSED, reason)
        return ""

    def _read(self, client: StoredClient, token: str, trusted: frozenset[str]) -> ClientAnswer:
        try:
            return _check_client(client, self._client.read(client.registration_client_uri, token, trusted))
        except RegistrationRefusedError as error:
            if error.status in _LOST:
                reason = (
                    f"The provider does not know the client {client.client_id} any more, or does not accept its "
                    f"registration access token ({error})."
                )
                raise ProblemError(ProblemCode.CLIENT_LOST, reason) from error
            reason = f"The provider refuses to tell the client {client.client_id} ({error})."
            raise ProblemError(ProblemCode.UPDATE_REFUSED, reason) from error
        except ClientNotAsAskedError as error:
            reason = f"The provider tells the client {client.client_id} in a way that cannot be used: {error}."
            raise ProblemError(ProblemCode.NOT_AS_ASKED, reason) from error
        except (*_UNAVAILABLE, AnswerRefusedError) as error:
            reason = f"The client {client.client_id} cannot be read now ({error})."
            raise ProblemError(ProblemCode.PROVIDER_UNAVAILABLE, reason) from error

    def _update(
        self, client: StoredClient, token: str, body: dict[str, object], trusted: frozenset[str]
    ) -> ClientAnswer:
        try:
            return _check_client(client, self._client.update(client.registration_client_uri, token, body, trusted))
        except RegistrationRefusedError as error:
            reason = f"The provider refuses to change the client {client.client_id} ({error})."
            raise ProblemError(ProblemCode.UPDATE_REFUSED, reason) from error
        except ClientNotAsAskedError as error:
            reason = f"The provider tells the client {client.client_id} in a way that cannot be used: {error}."
            raise ProblemError(ProblemCode.NOT_AS_ASKED, reason) from error
        except (*_UNAVAILABLE, AnswerRefusedError) as error:
            # Whether it was written shows at the next read.
            reason = f"The client {client.client_id} cannot be written now ({error})."
            raise ProblemError(ProblemCode.PROVIDER_UNAVAILABLE, reason) from error

    def _follow_token(
        self, record: RegistrationRecord, client: StoredClient, token: str, answer: ClientAnswer
    ) -> tuple[RegistrationRecord, StoredClient, str]:
        """Keeps a new registration access token first of all: the old one is no good any more (RFC 7592 §3). One that
        stays is sealed anew once the key ring has a new first key."""
        uri = answer.registration_client_uri or client.registration_client_uri
        new = answer.registration_access_token or token
        is_sealed_well = self._store.is_token_sealed_by_first(client)
        if is_sealed_well and (uri, new) == (client.registration_client_uri, token):
            return record, client, token
        client = replace(
            client, registration_client_uri=uri, sealed_token=self._store.seal_token(client.client_id, new)
        )
        return self._store.save(record, replace(record, client=client)), client, new

    def _keep_answer(
        self,
        record: RegistrationRecord,
        client: StoredClient,
        wanted: dict[str, object],
        answer: ClientAnswer,
        *,
        is_update: bool,
    ) -> None:
        changed = replace(client, asked=wanted, granted=select_members(answer.document, wanted))
        if is_update:
            changed = replace(changed, updated_at=self._clock())
        self._store.save(record, replace(record, client=changed))

    def _check_as_asked(self, answer: ClientAnswer, wanted: ClientMetadata) -> None:
        try:
            check_as_asked(answer, wanted)
        except ClientNotAsAskedError as error:
            reason = f"The client {answer.client_id} is not what it should be at the provider: {error}."
            raise ProblemError(ProblemCode.NOT_AS_ASKED, reason) from error


def _find_what_to_write(document: ClientMetadata, client: StoredClient, wanted: ClientMetadata) -> tuple[str, ...]:
    """Nothing when we want what we wanted, and the provider has what it made of that."""
    has = select_members(document, client.asked)
    if wanted == client.asked and is_same(has, client.granted):
        return ()
    return find_differences(document, wanted, client.asked)


def _check_client(client: StoredClient, answer: ClientAnswer) -> ClientAnswer:
    if answer.client_id != client.client_id:
        raise ClientNotAsAskedError(answer.client_id, "client_id is another one")
    return answer
