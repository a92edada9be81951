"""`bff pdp`: look after what the BFF has to do with the policy decision point."""

from __future__ import annotations

import time
from pathlib import Path

import click

from app.cli.config import config_dir_option
from app.cli.opening import load_settings, open_state, open_trail
from app.services.decision_epoch import DecisionEpoch
from app.services.decision_trail import record_forgetting


@click.group()
def pdp() -> None:
    """Look after what the BFF has to do with the decision point."""


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
