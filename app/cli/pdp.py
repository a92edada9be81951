"""`bff pdp`: try the policy decision point, and have what it decided forgotten."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.cli.claims import claims_option, read_claims
from app.cli.config import config_dir_option
from app.cli.inlining import inline_endpoint_map
from app.cli.opening import (
    describe_error,
    fail,
    load_configuration_or_exit,
    load_settings,
    log_to_standard_error,
    open_state,
    open_trail,
)
from app.cli.output import make_printable, open_console, print_faults
from app.cli.pdp_check import Sample, Step, build_document, check_pdp, choose_permission, has_failed
from app.core.errors import LoginFailedError
from app.core.permissions import ANY_ID, Permission, Resource
from app.services.authorization import build_pdp
from app.services.decision_epoch import DecisionEpoch
from app.services.decision_trail import record_forgetting
from app.settings import ConfigurationError
from app.settings.loader import find_config_dir
from app.settings.yaml_edits import CannotEditError

_NAME_WIDTH = 13
_MOST_DIFFERENCES = 10
_STYLES = {"ok": "green", "note": "yellow", "failed": "bold red"}


@click.group()
def pdp() -> None:
    """Look after what the BFF has to do with the decision point."""


@pdp.command()
@click.option("--action", help="Of the sample question; the default is the first that a mapping names.")
@click.option("--resource", "resource_type", metavar="TYPE", help="Of the sample question.")
@click.option("--id", "resource_id", metavar="ID", default=ANY_ID, help="Of the sample question.")
@claims_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_dir_option
def check(
    action: str | None,
    resource_type: str | None,
    resource_id: str,
    claims_file: Any,
    as_json: bool,
    config_dir: Path | None,
) -> None:
    """Try the decision point: reach it, read its metadata, ask it a sample question and a batch.

    Exits with 0 when it decides, whatever it decides, and with 1 when it does not.
    """
    claims = read_claims(claims_file)
    configuration = load_configuration_or_exit(config_dir)
    if not configuration.pdp.connection.base_url:
        fail("There is no decision point: connection.base_url in pdp.yaml is empty.")
    first = choose_permission(configuration)
    resource = Resource(resource_type or first.resource.type, resource_id)
    sample = Sample(Permission(action or first.action, resource), claims)
    console, steps = open_console(), list[Step]()
    with log_to_standard_error():
        tried = build_pdp(configuration.pdp, time.monotonic)
        try:
            for step in check_pdp(configuration, tried, sample, time.monotonic):
                steps.append(step)
                if not as_json:
                    console.print(_build_line(step), soft_wrap=True)
        except LoginFailedError as error:
            fail(f"Nobody could have logged in with these claims: {describe_error(error)}")
    if as_json:
        click.echo(json.dumps(build_document(steps), indent=2, ensure_ascii=False))
    elif has_failed(steps):
        console.print(Text("The decision point does not decide: calls to routes with authz pdp get 503.", "bold red"))
    else:
        console.print(Text("The decision point decides.", "bold green"))
    sys.exit(1 if has_failed(steps) else 0)


def _build_line(step: Step) -> Text:
    return Text.assemble(
        (step.name.ljust(_NAME_WIDTH), "bold"),
        (step.outcome.ljust(8), _STYLES[step.outcome]),
        make_printable(step.told),
    )


@pdp.command(short_help="Move endpoint_map into the routes, and prove that no answer changes.")
@click.option(
    "--write",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the new routes.yaml and pdp.yaml into this folder, which must not hold them yet.",
)
@config_dir_option
def inline(folder: Path | None, config_dir: Path | None) -> None:
    """Show how each entry of `endpoint_map` moves into the `authz_map` of the routes that it speaks for.

    Everything else in the two files stays as it is. An entry stays where an answer might change, and why is told. The
    files that the BFF runs with are never changed. Both configurations are then asked what every kind of call means
    and where it goes; unless all answers are alike, nothing is written.

    Exits with 0 when what would move is proved, with 1 when it is not or the files cannot be changed this way.
    """
    configuration = load_configuration_or_exit(config_dir)
    if not configuration.pdp.endpoint_map:
        click.echo("endpoint_map is empty: there is nothing to move.")
        return
    console = open_console()
    try:
        inlining = inline_endpoint_map(find_config_dir(config_dir), configuration)
    except CannotEditError as error:
        fail(f"The files cannot be changed by this command: {error}.")
    except ConfigurationError as error:
        print_faults(console, error.faults)
        fail("With the entries moved the BFF would not start. Nothing was written.")
    if inlining.proof.differences:
        for difference in inlining.proof.differences[:_MOST_DIFFERENCES]:
            told = f"{difference.method} {difference.path}: {difference.before} now, {difference.after} then"
            console.print(Text(told, "red"), soft_wrap=True)
        fail(f"{len(inlining.proof.differences)} calls would be answered otherwise. Nothing was written.")
    for diff in inlining.diffs.values():
        click.echo(diff, nl=False)
    for entry in inlining.plan.moved:
        console.print(Text(f"moved   {entry}   {inlining.proof.by_entry[entry]} calls answered alike"), soft_wrap=True)
    for entry, reason in inlining.plan.staying.items():
        console.print(Text(f"stays   {entry}   {reason}"), soft_wrap=True)
    console.print(Text(f"Proved with {inlining.proof.calls:,} calls: each means the same and goes to the same place."))
    if folder is not None:
        _write_new(folder, inlining.texts)


def _write_new(folder: Path, texts: Mapping[str, str]) -> None:
    there = [name for name in texts if (folder / name).exists()]
    if there:
        fail(f"{folder} holds {' and '.join(there)} already. Nothing was written.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"The files cannot be written: {error}")
    click.echo(f"Written: {' and '.join(str(folder / name) for name in texts)}.")


@pdp.command(short_help="Forget every remembered decision, on every node.")
@config_dir_option
def forget(config_dir: Path | None) -> None:
    """Forget every remembered decision, on every node: the next calls are decided anew.

    For when policies have changed and the change must not wait for `cache.ttl_allow`. Needs the configuration that the
    BFF runs with, and for the filesystem store its user and its working directory.
    """
    settings = load_settings(config_dir)
    with open_state(settings) as state, open_trail(settings):
        DecisionEpoch(state, local_cache_seconds=0, clock=time.time).advance()
        record_forgetting("operator")
    click.echo("Forgotten: every decision from before now, on every node.")
