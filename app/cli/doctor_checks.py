"""What `bff doctor` tries, one part after the other: each is tried whatever became of the others.

Nothing is made that only a start should make: no folder, no key, no registration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from app.cli.claims import read_claims
from app.cli.compiled_modules import count_compiled
from app.cli.opening import OPENING_ERRORS, StoreFolderError, check_folder, describe_error
from app.cli.output import tell_count
from app.cli.pdp_check import Sample, check_pdp, choose_permission
from app.core.errors import IdpUnavailableError, LoginFailedError
from app.services.authorization import build_pdp
from app.services.client_registration import build_client_registration
from app.services.control_http import ControlHttp
from app.services.key_ring import KeyRing, choose_key_file
from app.services.key_store import (
    KeyStore,
    RotationPolicy,
    build_key_directory_document,
    build_shared_key_document,
)
from app.services.oidc_client import OidcClient
from app.services.oidc_metadata import ProviderMetadata
from app.services.state_store import StateStore
from app.services.state_store.factory import build_state_store
from app.settings import Configuration

_FIRST_START = "Nothing, before the first start: it makes this. Afterwards: run this in the BFF's working directory."
_STORE_STEP = "Calls with a session get 503 until the store answers: see to session.directory or session.redis_url."
_KEYS_STEP = "See to keys.directory (or keys.store: redis) and to whom its files belong."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. A note is nothing to stop for."""

    name: str
    outcome: Literal["ok", "note", "failed"]
    told: str
    next_step: str = ""


def build_document(findings: list[Finding]) -> dict[str, object]:
    return {"ok": not has_failed(findings), "findings": [asdict(finding) for finding in findings]}


def has_failed(findings: list[Finding]) -> bool:
    return any(finding.outcome == "failed" for finding in findings)


def examine(
    configuration: Configuration, *, clock: Callable[[], float], monotonic: Callable[[], float]
) -> Iterator[Finding]:
    """Tries everything that sound configuration names."""
    yield _tell_configuration(configuration)
    yield _tell_modules(configuration)
    with ExitStack() as stack:
        parts = _Parts(configuration, stack, clock, monotonic)
        yield parts.try_store()
        yield parts.try_data_key()
        yield parts.try_signing_keys()
        yield parts.try_provider()
        yield parts.try_provider_keys()
        yield parts.try_client()
    yield _try_pdp(configuration, monotonic)


class _Parts:
    """What one check opened, the next may need; without it the next says so instead of failing for nothing."""

    def __init__(
        self,
        configuration: Configuration,
        stack: ExitStack,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        settings = configuration.settings
        self._configuration = configuration
        self._settings = settings
        self._stack = stack
        self._clock = clock
        self._monotonic = monotonic
        self._store: StateStore | None = None
        self._key_ring: KeyRing | None = None
        self._key_store: KeyStore | None = None
        self._http = ControlHttp(timeout_seconds=settings.oidc.timeout_seconds, ca_file=settings.oidc.ca_file)
        self._oidc = OidcClient(
            settings.oidc, http=self._http, clock=clock, allow_http=settings.environment == "development"
        )
        self._provider: ProviderMetadata | None = None

    def try_store(self) -> Finding:
        session = self._settings.session
        try:
            if session.store == "filesystem":
                check_folder(Path(session.directory), "session.directory")
            store = self._stack.enter_context(closing(build_state_store(session, self._clock)))
            store.check()
        except StoreFolderError as error:
            return _tell_folder("store", error)
        except OPENING_ERRORS as error:
            return Finding("store", "failed", describe_error(error), _STORE_STEP)
        self._store = store
        place = str(Path(session.directory).absolute()) if session.store == "filesystem" else "Redis"
        return Finding("store", "ok", f"{place}: a record was written and read back")

    def try_data_key(self) -> Finding:
        path = choose_key_file(self._settings)
        if not self._settings.tokens.data_key_file and not path.exists():
            return Finding("data key", "note", f"there is no {path} yet", _FIRST_START)
        try:
            self._key_ring = KeyRing.load(path)
        except OPENING_ERRORS as error:
            return Finding("data key", "failed", describe_error(error), "The BFF does not start without this file.")
        return Finding("data key", "ok", str(path))

    def try_signing_keys(self) -> Finding:
        keys = self._settings.keys
        try:
            if keys.store == "directory":
                check_folder(Path(keys.directory), "keys.directory")
                document = build_key_directory_document(keys)
            elif self._store is None or self._key_ring is None:
                return Finding("signing keys", "note", "not tried: they lie in the store, under the data key")
            else:
                document = build_shared_key_document(self._store, self._key_ring)
            store = KeyStore(document, RotationPolicy.from_settings(keys), clock=self._clock)
            listed = store.list_keys()
        except StoreFolderError as error:
            return _tell_folder("signing keys", error)
        except OPENING_ERRORS as error:
            return Finding("signing keys", "failed", describe_error(error), _KEYS_STEP)
        self._key_store = store
        current = next((key for key in listed if key.state == "current"), None)
        if current is None:
            return Finding("signing keys", "note", "there are none yet", _FIRST_START)
        return Finding("signing keys", "ok", f"{tell_count(len(listed), 'key')}; {current.kid} signs")

    def try_provider(self) -> Finding:
        issuer = self._settings.oidc.issuer
        try:
            self._provider = self._oidc.get_metadata()
        except IdpUnavailableError as error:
            step = "Nobody can log in. See to oidc.issuer, oidc.ca_file, name resolution and firewalls between the two."
            return Finding("provider", "failed", f"{issuer}: {error.internal_reason}", step)
        return Finding("provider", "ok", issuer)

    def try_provider_keys(self) -> Finding:
        if self._provider is None:
            return Finding("provider's keys", "note", "not tried: the provider's metadata name them")
        try:
            keys = self._oidc.get_keys()
        except IdpUnavailableError as error:
            return Finding("provider's keys", "failed", error.internal_reason, "Nobody can log in without these keys.")
        if not keys:
            step = "No ID token can be checked: let the provider publish its signing keys."
            return Finding("provider's keys", "failed", f"{self._provider.jwks_uri} holds none", step)
        return Finding("provider's keys", "ok", f"{tell_count(len(keys), 'key')} at {self._provider.jwks_uri}")

    def try_client(self) -> Finding:
        oidc = self._settings.oidc
        if not oidc.registers_itself:
            told = f"{oidc.client_id}, by {oidc.client_auth}; only a login shows whether the provider knows it so"
            return Finding("client", "ok", told)
        if self._store is None or self._key_ring is None or self._key_store is None:
            return Finding("client", "note", "not tried: store, data key and signing keys come first")
        registration = build_client_registration(
            self._configuration,
            state_store=self._store,
            key_ring=self._key_ring,
            key_store=self._key_store,
            http=self._http,
            get_provider=self._oidc.get_metadata,
            find_provider=self._oidc.find_metadata,
            clock=self._clock,
            monotonic=self._monotonic,
        )
        try:
            record = registration.read()
        except OPENING_ERRORS as error:
            return Finding("client", "failed", describe_error(error), "`bff client show` tells more.")
        client, problem = record.find_client(oidc.issuer), record.find_problem()
        if problem is not None:
            outcome: Literal["note", "failed"] = "note" if client is not None and problem.is_temporary else "failed"
            return Finding("client", outcome, f"{problem.code.value}: {problem.reason}", problem.next_step)
        if client is None:
            return Finding("client", "note", "not registered yet", "Start the BFF, or run `bff client register`.")
        return Finding("client", "ok", f"{client.client_id}, registered by the BFF itself")


def _tell_configuration(configuration: Configuration) -> Finding:
    counts = (
        tell_count(len(configuration.services), "service"),
        tell_count(len(configuration.route_table.routes), "route"),
        tell_count(len(configuration.warnings), "warning"),
    )
    step = "`bff config check` tells the warnings." if configuration.warnings else ""
    return Finding("configuration", "note" if configuration.warnings else "ok", ", ".join(counts), step)


def _tell_modules(configuration: Configuration) -> Finding:
    """Whether what every call runs through is compiled; whoever develops leaves it to the interpreter."""
    compiled, named = count_compiled()
    if compiled == named:
        return Finding("modules", "ok", "what every call runs through is compiled")
    if compiled:
        told = f"{compiled} of {named} modules are compiled: an installation broke off"
        return Finding("modules", "failed", told, "`make install` once more; such a mixture does not start.")
    told = "what every call runs through is left to the interpreter"
    if configuration.settings.environment == "development":
        return Finding("modules", "ok", told)
    return Finding("modules", "note", told, "A call costs a third more CPU time than it need: `make install` compiles.")


def _tell_folder(name: str, error: StoreFolderError) -> Finding:
    """That a folder is missing is as it should be before the first start; that it is another user's never is."""
    if error.is_missing:
        return Finding(name, "note", str(error), _FIRST_START)
    return Finding(name, "failed", str(error), "Run this as the user that the BFF runs as.")


def _try_pdp(configuration: Configuration, monotonic: Callable[[], float]) -> Finding:
    """The first step of `bff pdp check` that failed, else its decision."""
    name, url = "decision point", configuration.pdp.connection.base_url
    if not url:
        return Finding(name, "ok", "none: connection.base_url in pdp.yaml is empty, and no route asks one")
    sample = Sample(choose_permission(configuration), read_claims(None))
    try:
        steps = list(check_pdp(configuration, build_pdp(configuration.pdp, monotonic), sample, monotonic))
    except LoginFailedError as error:
        return Finding(
            name, "failed", describe_error(error), "`bff pdp check --as claims.json` asks with claims of yours."
        )
    failed = next((step for step in steps if step.outcome == "failed"), None)
    if failed is not None:
        step = f"Calls to routes with authz pdp get 503. `bff pdp check` tries {url} step by step."
        return Finding(name, "failed", f"{failed.name}: {failed.told}", step)
    if not configuration.settings.pdp.enabled:
        return Finding(name, "note", f"{url} decides, but is not asked", "pdp.enabled: true switches enforcement on.")
    decision = next(step for step in steps if step.name == "decision")
    return Finding(name, "ok", f"decides; a sample question was {decision.told}")
