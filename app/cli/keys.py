"""`bff keys`: see the signing keys, replace the one that signs, take one out.

Works on the keys that the settings name, beside running workers, which follow within seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from app.cli.config import config_dir_option
from app.cli.opening import fail, load_settings, open_keys, open_trail
from app.cli.output import make_printable, open_console
from app.services.key_store import LOOK_SECONDS, KeyStore, RotationPolicy, SigningKey
from app.services.session_store import build_utc_time

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_NEXT_CHANGES = {"next": "signs", "current": "is replaced", "retired": "goes"}
_AT_ONCE_WARNING = """\
The new key signs at once. An identity provider that has read the JWKS before and keeps it refuses the new key until it
reads it again, with some for an hour or longer, and nobody can log in meanwhile. Do this only when the key that signs
now may be known to somebody else; else leave out --now."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def keys() -> None:
    """See and replace the keys that the BFF signs with.

    Needs the configuration that the BFF runs with, and for keys in a directory its user and its working directory.
    """


@keys.command("list")
@json_option
@config_dir_option
def list_keys(as_json: bool, config_dir: Path | None) -> None:
    """List the published keys, oldest first: next, current and retired.

    Into a file or a pipe goes one line a key: kid, algorithm, state, since when it is published and when its state
    changes next (UTC), with tabs between them.
    """
    with open_keys(load_settings(config_dir)) as store:
        _print_keys(store, as_json=as_json)


@keys.command("rotate", short_help="Publish a new key, which signs later; --now in an emergency.")
@click.option("--now", "at_once", is_flag=True, help="In an emergency: the new key signs at once.")
@yes_option
@json_option
@config_dir_option
def rotate_keys(at_once: bool, yes: bool, as_json: bool, config_dir: Path | None) -> None:
    """Publish a new key, which signs once it was published for keys.publish_ahead_seconds.

    The BFF does so by itself every keys.rotate_after_days. When a new key is under way already, none is made.
    """
    settings = load_settings(config_dir)
    with open_keys(settings) as store, open_trail(settings):
        if at_once:
            click.secho(_AT_ONCE_WARNING, fg="yellow", err=True)
            if not yes:
                click.confirm("Replace the key at once?", abort=True, err=True)
        _require_keys(store)
        key = store.rotate(at_once=at_once)
        _tell(_describe_rotation(store.policy, key))
        if at_once:
            _tell("The old key is still published: `bff keys list` names it, `bff keys retire KID` takes it out.")
        if as_json:
            _print_keys(store, as_json=True)


# A key id is base64url: one in 64 begins with a dash, and then an `h` anywhere in it would be the short word for help.
@keys.command("retire", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("kid")
@yes_option
@json_option
@config_dir_option
def retire_key(kid: str, yes: bool, as_json: bool, config_dir: Path | None) -> None:
    """Take the key KID out of the JWKS for good, before its time.

    The key that signs cannot be taken out: replace it first.
    """
    settings = load_settings(config_dir)
    with open_keys(settings) as store, open_trail(settings):
        key = next((key for key in store.list_keys() if key.kid == kid), None)
        if key is None:
            fail(f"There is no key {make_printable(kid)}. `bff keys list` tells which there are.")
        if not yes and key.state != "current":
            click.confirm(f"Take the {key.state} key {kid} out for good?", abort=True, err=True)
        store.retire(kid)
        _tell(f"{kid} is no longer published. Whoever keeps the JWKS may accept it until reading it again.")
        if as_json:
            _print_keys(store, as_json=True)


def _require_keys(store: KeyStore) -> None:
    if not store.list_keys():
        fail("There are no keys yet: the first start of the BFF makes one.")


def _describe_rotation(policy: RotationPolicy, key: SigningKey) -> str:
    if key.state == "current":
        return f"{key.kid} signs; all workers follow within {LOOK_SECONDS:.0f} seconds."
    return f"{key.kid} is published, and signs from {build_utc_time(policy.tell_next_change(key))} on."


def _tell(sentence: str) -> None:
    """Standard output is for the keys."""
    click.echo(sentence, err=True)


def _print_keys(store: KeyStore, *, as_json: bool) -> None:
    listed, policy = store.list_keys(), store.policy
    console = open_console()
    if as_json:
        click.echo(json.dumps([_build_entry(policy, key, listed) for key in listed], indent=2))
    elif not console.is_terminal:
        for key in listed:
            click.echo("\t".join(_build_entry(policy, key, listed).values()))
    elif listed:
        console.print(_build_table(policy, listed, time.time()))
    else:
        console.print("There are no keys yet: the first start of the BFF makes one.")


def _build_entry(policy: RotationPolicy, key: SigningKey, listed: Sequence[SigningKey]) -> dict[str, str]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "state": key.state,
        "created_at": build_utc_time(key.created_at),
        "changes_at": build_utc_time(_choose_next_change(policy, key, listed)),
    }


def _choose_next_change(policy: RotationPolicy, key: SigningKey, listed: Sequence[SigningKey]) -> float:
    """The current key is replaced when the next one signs, however old it is."""
    following = [each for each in listed if each.state == "next" and key.state == "current"]
    return policy.tell_next_change(following[0] if following else key)


def _build_table(policy: RotationPolicy, listed: Sequence[SigningKey], now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("kid", "algorithm", "state", "age", "what comes next"):
        table.add_column(heading, no_wrap=heading != "what comes next")
    for key in listed:
        comes = f"{_NEXT_CHANGES[key.state]} {_tell_wait(_choose_next_change(policy, key, listed) - now)}"
        style = "green" if key.state == "current" else "dim" if key.state == "retired" else ""
        table.add_row(
            *(
                Text(cell, style)
                for cell in (key.kid, key.algorithm, key.state, _tell_time(now - key.created_at), comes)
            )
        )
    return table


def _tell_wait(seconds: float) -> str:
    return f"in {_tell_time(seconds)}" if seconds > 0 else "at the next look"


def _tell_time(seconds: float) -> str:
    for unit, unit_seconds in _UNITS:
        if seconds >= unit_seconds:
            return f"{int(seconds // unit_seconds)} {unit}"
    return "0 s"
