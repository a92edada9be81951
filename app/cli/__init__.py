"""The `bff` command."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from app.cli.client import client
from app.cli.config import config
from app.cli.doctor import doctor
from app.cli.keys import keys
from app.cli.pdp import pdp
from app.cli.routes import routes
from app.cli.sessions import sessions


def _find_version() -> str:
    try:
        return version("bff-server")
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_find_version(), prog_name="bff")
def main() -> None:
    """Look after a BFF: its configuration, and what runs on it."""


main.add_command(client)
main.add_command(config)
main.add_command(doctor)
main.add_command(keys)
main.add_command(pdp)
main.add_command(routes)
main.add_command(sessions)
