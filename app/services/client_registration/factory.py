"""Builds the registration from the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.services.client_registration.client_metadata import build_client_metadata
from app.services.client_registration.record import RegistrationStore
from app.services.client_registration.registrar import Registrar
from app.services.client_registration.registration import ClientRegistration
from app.services.client_registration.registration_client import RegistrationClient
from app.services.control_http import ControlHttp
from app.services.key_ring import KeyRing
from app.services.key_store import KeyStore
from app.services.oidc_metadata import ProviderMetadata
from app.services.private_document import DocumentFile, PrivateDocument, SealedDocument
from app.services.state_store import StateStore
from app.settings import Configuration

FILE_NAME = "client-registration.json"
RECORD_NAME = "client-registration"
_HOLDS = "the client registration"


def build_client_registration(
    configuration: Configuration,
    *,
    state_store: StateStore,
    key_ring: KeyRing,
    key_store: KeyStore,
    http: ControlHttp,
    get_provider: Callable[[], ProviderMetadata],
    find_provider: Callable[[], ProviderMetadata | None],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> ClientRegistration:
    """Opens nothing and asks nobody yet."""
    settings = configuration.settings
    oidc = settings.oidc

    def build_wanted(provider: ProviderMetadata) -> dict[str, object]:
        algorithms = {jwk["alg"] for jwk in key_store.public_jwks()["keys"]}
        return build_client_metadata(settings, configuration.services.values(), provider, algorithms)

    document: PrivateDocument
    if settings.keys.store == "redis":
        document = SealedDocument(RECORD_NAME, state_store, key_ring, holds=_HOLDS)
    else:
        document = DocumentFile(Path(settings.keys.directory) / FILE_NAME, holds=_HOLDS)
    store = RegistrationStore(document, key_ring)
    registrar = Registrar(
        store,
        RegistrationClient(http),
        state_store=state_store,
        issuer=oidc.issuer,
        initial_access_token=oidc.dcr.initial_access_token.get_secret_value(),
        get_provider=get_provider,
        build_wanted=build_wanted,
        timeout_seconds=oidc.timeout_seconds,
        clock=clock,
    )
    return ClientRegistration(store, registrar, issuer=oidc.issuer, find_provider=find_provider, monotonic=monotonic)
