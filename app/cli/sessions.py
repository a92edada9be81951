"""`bff sessions`: see who is logged in, and end sessions.

Works on the store that the settings name, beside running workers, which see at once what ends here (with Redis: as soon
as they have heard of it).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from app.cli.config import config_dir_option
from app.cli.opening import describe_error, fail, load_settings, open_sessions, open_trail
from app.cli.output import make_printable, open_console, tell_count
from app.core.errors import StoreUnavailableError
from app.observability import audit
from app.services.session_store import (
    ListedSession,
    SessionCatalogue,
    SessionRecord,
    SessionStore,
    build_utc_time,
    find_by_reference,
)

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.group()
def sessions() -> None:
    """See who is logged in, and end sessions.

    Needs the configuration that the BFF runs with, and for the filesystem store its user and its working directory.
    """


@sessions.command("list")
@click.option("--user", metavar="ID", help="Only the sessions of this user.")
@config_dir_option
def list_sessions(user: str | None, config_dir: Path | None) -> None:
    """List live sessions; the one that was active last comes first.

    Into a file or a pipe goes one line a session: reference, user, device, created and last seen (UTC), with tabs
    between them and nothing else.
    """
    with open_sessions(load_settings(config_dir)) as store:
        listed = _list(SessionCatalogue(store), user)
    console = open_console()
    if not console.is_terminal:
        for session in listed:
            click.echo("\t".join(_build_cells(session.record)))
        return
    if listed:
        console.print(_build_table(listed, time.time()))
    console.print(Text(f"{tell_count(len(listed), 'session')}."))


@sessions.command("end", short_help="End one session, all of a user, or all there are.")
@click.argument("reference", required=False)
@click.option("--user", metavar="ID", help="End all sessions of this user.")
@click.option("--all", "everybody", is_flag=True, help="End the sessions of everybody.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_dir_option
def end_sessions(reference: str | None, user: str | None, everybody: bool, yes: bool, config_dir: Path | None) -> None:
    """End the session of this REFERENCE, all of one user, or all there are.

    Exits with 0 when they are over (a user without sessions included), with 1 when there is no session of this
    reference, the answer was no or the store failed.
    """
    if (reference is not None) + (user is not None) + everybody != 1:
        raise click.UsageError("Name what to end: a REFERENCE, --user ID or --all.")
    settings = load_settings(config_dir)
    with open_sessions(settings) as store, open_trail(settings):
        listed = _list(SessionCatalogue(store), user)
        if reference is not None:
            listed = [_require_session(listed, reference)]
        if not yes and (listed or everybody):
            click.confirm(_build_question(listed, user, everybody=everybody), abort=True, err=True)
        ended = _end(store, _choose_keys(store, listed, user, everybody=everybody))
    click.echo(f"{tell_count(ended, 'session').capitalize()} ended.")


def _list(catalogue: SessionCatalogue, user: str | None) -> list[ListedSession]:
    return catalogue.list_all() if user is None else catalogue.list_of_user(user)


def _require_session(listed: list[ListedSession], reference: str) -> ListedSession:
    found = find_by_reference(listed, reference)
    if found is None:
        fail(f"There is no session {make_printable(reference)}.")
    return found


def _build_question(listed: list[ListedSession], user: str | None, *, everybody: bool) -> str:
    if everybody:
        return f"End the sessions of everybody ({tell_count(len(listed), 'session')})?"
    if user is not None:
        return f"End {tell_count(len(listed), 'session')} of {make_printable(user)}?"
    _, of_user, device, _, last_seen = _build_cells(listed[0].record)
    return f"End the session of {of_user} ({device}, last seen {last_seen})?"


def _choose_keys(
    store: SessionStore, listed: list[ListedSession], user: str | None, *, everybody: bool
) -> Iterable[str]:
    """Of a user or of everybody also what came since, what a login is just making and what a later version wrote."""
    if everybody:
        return store.find_all_keys()
    if user is not None:
        return store.find_keys_of_user(user)
    return [session.key for session in listed]


def _end(store: SessionStore, keys: Iterable[str]) -> int:
    """Returns how many sessions were ended; what was over before is not counted."""
    ended = 0
    for key in keys:
        try:
            record = store.end_by_key(key)
        except StoreUnavailableError as error:
            fail(f"{tell_count(ended, 'session').capitalize()} ended, then the store failed: {describe_error(error)}")
        if record is not None:
            ended += 1
            audit.record("session.ended", user_id=record.user_id, session=record.reference, reason="operator")
    return ended


def _build_table(listed: Iterable[ListedSession], now: float) -> Table:
    """For people: how long ago rather than when, which also leaves room for a device on 80 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("reference", no_wrap=True, min_width=32)
    table.add_column("user", overflow="fold", ratio=1)
    table.add_column("device", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("created", no_wrap=True, min_width=10)
    table.add_column("last seen", no_wrap=True, min_width=10)
    for session in listed:
        record = session.record
        times = (_tell_age(now - record.created_at), _tell_age(now - record.last_seen_at))
        table.add_row(*map(Text, (*_build_cells(record)[:3], *times)))
    return table


def _tell_age(seconds: float) -> str:
    for unit, unit_seconds in _UNITS:
        if seconds >= unit_seconds:
            return f"{int(seconds // unit_seconds)} {unit} ago"
    return "now"


def _build_cells(record: SessionRecord) -> tuple[str, str, str, str, str]:
    """Reference, user, device, created and last seen; what strangers chose is made harmless to a terminal."""
    return (
        record.reference,
        make_printable(record.user_id),
        make_printable(record.device) or "-",
        build_utc_time(record.created_at),
        build_utc_time(record.last_seen_at),
    )
