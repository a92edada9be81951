"""`bff doctor`: everything that a BFF needs, tried from here, with the next step where something is missing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

from app.cli.config import config_dir_option
from app.cli.doctor_checks import Finding, build_document, examine, has_failed
from app.cli.opening import log_to_standard_error
from app.cli.output import make_printable, open_console, tell_count
from app.settings import ConfigurationError, load_configuration

_NAME_WIDTH = 16
_STYLES = {"ok": "green", "note": "yellow", "failed": "bold red"}


@click.command(short_help="Try all that the BFF needs, and say what to do next.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_dir_option
def doctor(as_json: bool, config_dir: Path | None) -> None:
    """Try all that the BFF needs: configuration, store, keys, identity provider, client, decision point.

    It logs nobody in and changes nothing but one probe record in the store, which it takes back. Run it with the
    configuration that the BFF runs with, as its user and in its working directory.

    Exits with 0 when nothing failed, else with 1. A note is nothing to stop for, such as what the first start makes.
    """
    findings: list[Finding] = []
    console = open_console()
    with log_to_standard_error():
        for finding in _examine(config_dir):
            findings.append(finding)
            if not as_json:
                console.print(_build_lines(finding), soft_wrap=True)
    if as_json:
        click.echo(json.dumps(build_document(findings), indent=2, ensure_ascii=False))
    else:
        console.print(_build_summary(findings))
    sys.exit(1 if has_failed(findings) else 0)


def _examine(config_dir: Path | None) -> Iterator[Finding]:
    try:
        configuration = load_configuration(config_dir)
    except ConfigurationError as error:
        told = f"{tell_count(len(error.faults), 'fault')}; the first: {error.faults[0]}"
        yield Finding("configuration", "failed", told, "`bff config check` tells them all; the BFF does not start.")
        return
    yield from examine(configuration, clock=time.time, monotonic=time.monotonic)


def _build_summary(findings: list[Finding]) -> Text:
    failed, noted = (sum(finding.outcome == outcome for finding in findings) for outcome in ("failed", "note"))
    if failed:
        advice = " Begin with the first." if failed > 1 else ""
        return Text(f"{tell_count(failed, 'fault')}.{advice}", "bold red")
    told = f"Nothing failed; {tell_count(noted, 'note')} above." if noted else "All that the BFF needs is there."
    return Text(told, "bold green")


def _build_lines(finding: Finding) -> Text:
    text = Text.assemble(
        (finding.name.ljust(_NAME_WIDTH), "bold"),
        (finding.outcome.ljust(8), _STYLES[finding.outcome]),
        make_printable(finding.told),
    )
    if finding.next_step:
        text.append(f"\n{'':{_NAME_WIDTH}}next:   {make_printable(finding.next_step)}", "dim")
    return text
