"""`bff client`: register the BFF at its provider, and see what it is registered as.

A running BFF does the same by itself; its workers take over within seconds what is done here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from app.cli.config import config_dir_option
from app.cli.opening import fail, load_configuration_or_exit, open_registration, open_trail
from app.cli.output import make_printable, open_console
from app.services.client_registration import ClientRegistration, Outcome, Problem, StoredClient
from app.services.session_store import build_utc_time
from app.settings.schema.settings_file import OidcSettings

SECRETS_ARE_NOT_OURS = (
    "A client_secret is not set or changed by registration: providers refuse it there, and so does the BFF. Let the "
    "provider's administrators do it (then give oidc.client_id and oidc.client_secret_file), or keep to "
    "private_key_jwt, where there is no secret: `bff keys rotate` replaces the key, and the provider reads the new one "
    "by itself."
)
_CHANGES = {"registered": "Registered.", "updated": "Updated.", "none": "Nothing had to be changed."}


@click.group(short_help="Register the BFF at its provider; see the client.")
def client() -> None:
    """Register the BFF at its provider, and see what it is registered as.

    For `oidc.dcr.enabled: true`. Needs the configuration that the BFF runs with, its user and its working directory.
    """


@client.command(short_help="Register, or bring the client up to date, now.")
@click.option(
    "--new", "anew", is_flag=True, help="Make a new client, whatever is stored; needs an initial access token."
)
@click.option("--rotate-secret", is_flag=True, help="Not possible; says what to do instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_dir_option
def register(anew: bool, rotate_secret: bool, as_json: bool, config_dir: Path | None) -> None:
    """Do once, here and now, what a start does: register, or read back and update what differs.

    Exits with 0 when the client is as it should be, else with 1 and the next step.
    """
    if rotate_secret:
        fail(SECRETS_ARE_NOT_OURS)
    configuration = load_configuration_or_exit(config_dir)
    settings = configuration.settings
    if not settings.oidc.registers_itself:
        fail(_tell_static(settings.oidc))
    with open_registration(configuration) as registration, open_trail(settings):
        outcome = registration.ensure(anew=anew)
        if outcome.is_busy:
            fail("A running BFF is at it at this moment. See what came of it: bff client show")
        stored = registration.read().find_client(settings.oidc.issuer) if not _is_unreadable(outcome) else None
    if as_json:
        click.echo(json.dumps({"change": outcome.change, **_build_document(stored, outcome.problem)}, indent=2))
    else:
        _print(open_console(), stored, outcome.problem, "" if outcome.problem else _CHANGES[outcome.change])
        if outcome.problem is None and settings.oidc.dcr.initial_access_token.get_secret_value():
            click.echo("Remove DCR_IAT (oidc.dcr.initial_access_token) now: it is of no more use.", err=True)
    sys.exit(1 if outcome.problem else 0)


@client.command(short_help="Print what the BFF is registered as.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_dir_option
def show(as_json: bool, config_dir: Path | None) -> None:
    """Print what the BFF is registered as, from its record: asks nobody, and shows no token.

    Exits with 0 when there is a client and nothing wrong with it, else with 1.
    """
    configuration = load_configuration_or_exit(config_dir)
    oidc = configuration.settings.oidc
    if not oidc.registers_itself:
        click.echo(json.dumps({"client_id": oidc.client_id}, indent=2) if as_json else _tell_static(oidc))
        return
    with open_registration(configuration, must_exist=True) as registration:
        stored, problem = _read(registration, oidc)
    if as_json:
        click.echo(json.dumps(_build_document(stored, problem), indent=2))
    else:
        _print(open_console(), stored, problem, "" if stored else "Not registered.")
    sys.exit(0 if stored and problem is None else 1)


def _read(registration: ClientRegistration, oidc: OidcSettings) -> tuple[StoredClient | None, Problem | None]:
    record = registration.read()
    return record.find_client(oidc.issuer), record.find_problem()


def _is_unreadable(outcome: Outcome) -> bool:
    return outcome.problem is not None and outcome.problem.concerns_record


def _tell_static(oidc: OidcSettings) -> str:
    return (
        f"The settings name the client: oidc.client_id is {oidc.client_id}. It is looked after at the provider; the "
        "BFF registers itself with oidc.dcr.enabled: true and an empty oidc.client_id."
    )


def _build_document(stored: StoredClient | None, problem: Problem | None) -> dict[str, Any]:
    document: dict[str, Any] = {"client_id": None}
    if stored is not None:
        document = {
            "client_id": stored.client_id,
            "issuer": stored.issuer,
            "registered_at": build_utc_time(stored.registered_at),
            "updated_at": build_utc_time(stored.updated_at) if stored.updated_at else None,
            "is_managed": bool(stored.sealed_token),
            "metadata": stored.granted,
        }
    told = {"code": problem.code.value, "reason": problem.reason, "next_step": problem.next_step} if problem else None
    return {**document, "problem": told}


def _print(console: Console, stored: StoredClient | None, problem: Problem | None, sentence: str) -> None:
    if stored is not None:
        rows = _list_rows(stored)
        width = max(len(name) for name, _ in rows) + 2
        for name, value in rows:
            console.print(Text.assemble((name.ljust(width), "dim"), make_printable(value)))
    if sentence:
        console.print(Text(sentence))
    if problem is not None:
        click.echo(f"{problem.code.value}: {problem.reason}\nNext step: {problem.next_step}", err=True)


def _list_rows(stored: StoredClient) -> list[tuple[str, str]]:
    changed = build_utc_time(stored.updated_at) if stored.updated_at else "never"
    managed = "by the BFF (RFC 7592)" if stored.sealed_token else "at the provider only"
    granted = [(name, _tell_value(value)) for name, value in stored.granted.items() if value is not None]
    return [
        ("client id", stored.client_id),
        ("issuer", stored.issuer),
        ("registered", build_utc_time(stored.registered_at)),
        ("updated", changed),
        ("changed", managed),
        *granted,
    ]


def _tell_value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
