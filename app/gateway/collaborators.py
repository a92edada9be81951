"""What the pipeline asks of those it works with.

In a running BFF they speak with the store, the identity provider and the backends; in a rehearsal nobody does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from app.core.errors import BffError
from app.core.identity import Identity
from app.core.routes import Route, Service
from app.gateway.call import Call
from app.services.bearer_authenticator import BearerCaller
from app.services.dpop_key import AccessToken
from app.services.session_store import SessionRecord


class Sessions(Protocol):
    def find_key(self, session_id: str) -> str | None: ...

    def find_by_key(self, key: str) -> SessionRecord | None: ...

    def touch(self, session_id: str, record: SessionRecord) -> object: ...


class Bearers(Protocol):
    def authenticate(self, authorization: str | None) -> BearerCaller: ...


class Tokens(Protocol):
    def get(self, service: Service, session_key: str | None) -> AccessToken | None: ...


Key = TypeVar("Key", contravariant=True)


class Watch(Protocol[Key]):
    def begin(self, key: Key, end: Callable[[], None]) -> Callable[[], None]: ...


class Limits(Protocol):
    def check(self, route: Route, client_address: str, identity: Identity | None) -> None: ...


class Recorder(Protocol):
    def begin(self, call: Call) -> None: ...

    def refuse(self, call: Call, error: BffError) -> None: ...

    def end(self, call: Call, status: int) -> None: ...
