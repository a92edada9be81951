"""Opens for a command what a running BFF works on.

Whatever keeps us from it is told in one sentence and ends the command with 1.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NoReturn

import click

from app.cli.output import open_console, print_faults
from app.core.errors import StoreUnavailableError
from app.core.redis_address import RedisUrlError
from app.observability import audit, lines
from app.services.client_registration import ClientRegistration
from app.services.key_ring import KeyFileError, KeyRing, choose_key_file
from app.services.key_store import (
    KeyStore,
    KeyStoreError,
    RotationPolicy,
    build_key_directory_document,
    build_shared_key_document,
)
from app.services.private_document import PrivateDocumentError
from app.services.session_store import SessionStore
from app.services.state_store import StateStore
from app.services.state_store.factory import RedisNotInstalledError, build_state_store
from app.services.state_store.private_files import UnsafePermissionsError
from app.settings import Configuration, ConfigurationError, Settings, load_configuration
from app.wiring import build_services

_STANDARD_ERROR = 2


class StoreFolderError(Exception):
    """A folder of the BFF's cannot be used from here. Says why."""

    def __init__(self, sentence: str, *, is_missing: bool) -> None:
        super().__init__(sentence)
        self.is_missing = is_missing


OPENING_ERRORS = (
    KeyFileError,
    KeyStoreError,
    PrivateDocumentError,
    OSError,
    RedisNotInstalledError,
    RedisUrlError,
    StoreFolderError,
    StoreUnavailableError,
    UnsafePermissionsError,
)


def load_settings(config_dir: Path | None) -> Settings:
    """Returns the settings that a start would have; with faults, prints them all and ends the command with 1."""
    return load_configuration_or_exit(config_dir).settings


def load_configuration_or_exit(config_dir: Path | None) -> Configuration:
    """As `load_settings`, for all of the configuration."""
    try:
        return load_configuration(config_dir)
    except ConfigurationError as error:
        print_faults(open_console(), error.faults)
        sys.exit(1)


def check_key_file(settings: Settings) -> None:
    """A start refuses a key file that others can read; so does who checks. What is made at the start is not missed."""
    if settings.tokens.data_key_file:
        with _telling_errors():
            KeyRing.load(choose_key_file(settings))


@contextmanager
def open_state(settings: Settings) -> Iterator[StateStore]:
    """Gives the configured store."""
    with _telling_errors():
        if settings.session.store == "filesystem":
            check_folder(Path(settings.session.directory), "session.directory")
        with closing(build_state_store(settings.session, time.time)) as state:
            yield state


@contextmanager
def open_sessions(settings: Settings) -> Iterator[SessionStore]:
    """Gives the sessions of the configured store."""
    with _telling_errors(), open_state(settings) as state:
        key_ring = KeyRing.load(choose_key_file(settings))  # never made here: it would open nothing
        yield SessionStore(state, key_ring, settings=settings.session, clock=time.time)


@contextmanager
def open_keys(settings: Settings) -> Iterator[KeyStore]:
    """Gives the signing keys where the settings say they are; makes none."""
    with _telling_errors(), ExitStack() as stack:
        policy = RotationPolicy.from_settings(settings.keys)
        if settings.keys.store == "directory":
            check_folder(Path(settings.keys.directory), "keys.directory")
            yield KeyStore(build_key_directory_document(settings.keys), policy, clock=time.time)
            return
        state = stack.enter_context(closing(build_state_store(settings.session, time.time)))
        key_ring = KeyRing.load(choose_key_file(settings))
        yield KeyStore(build_shared_key_document(state, key_ring), policy, clock=time.time)


@contextmanager
def open_registration(configuration: Configuration, *, must_exist: bool = False) -> Iterator[ClientRegistration]:
    """Gives the registration of a BFF that registers itself. Before the first start there is nothing of a BFF yet; then
    all of it is made as a start would, unless it `must_exist`."""
    settings = configuration.settings
    with _telling_errors():
        if settings.keys.store == "directory":
            check_folder(Path(settings.keys.directory), "keys.directory", must_exist=must_exist)
        if settings.session.store == "filesystem":
            check_folder(Path(settings.session.directory), "session.directory", must_exist=must_exist)
        services = build_services(configuration)
        with closing(services.state_store):
            if services.client_registration is None:
                raise ValueError("the settings name the client")
            yield services.client_registration


@contextmanager
def _telling_errors() -> Iterator[None]:
    with log_to_standard_error():
        try:
            yield
        except OPENING_ERRORS as error:
            fail(describe_error(error))


@contextmanager
def log_to_standard_error() -> Iterator[None]:
    """Log lines go to standard error meanwhile: standard output is for people and pipes."""
    stdout, lines.stdout = lines.stdout, lines.LineWriter(_STANDARD_ERROR)
    try:
        yield
    finally:
        lines.stdout = stdout


@contextmanager
def open_trail(settings: Settings) -> Iterator[None]:
    """Sends audit events to the audit file; where the settings name none they are log lines like all others."""
    try:
        audit.configure(settings.logging.audit_sink)
    except OSError as error:
        fail(f"The audit file cannot be written: {error}")
    try:
        yield
    finally:
        audit.configure("stdout")


def fail(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)


def describe_error(error: Exception) -> str:
    reason = getattr(error, "internal_reason", "")
    return f"{error} ({reason})" if reason else str(error)


def check_folder(folder: Path, setting: str, *, must_exist: bool = True) -> None:
    """A folder that is not there would be made, and what another user makes in one the workers could not read."""
    if not must_exist:
        folder = folder.absolute()
        folder = next(place for place in (folder, *folder.parents) if place.is_dir())
    if not folder.is_dir():
        raise StoreFolderError(
            f"There is no folder {folder.absolute()}. A relative {setting} begins where the BFF was started.",
            is_missing=True,
        )
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise StoreFolderError(
            f"{folder} belongs to user id {owner}, and this is user id {os.geteuid()}: run the command as that user.",
            is_missing=False,
        )
