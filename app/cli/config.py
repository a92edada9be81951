"""`bff config`: check, show and describe the configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from app.cli.opening import check_key_file
from app.cli.output import open_console, print_faults, print_warnings, tell_count
from app.settings import Configuration, ConfigurationError
from app.settings.effective import render_file
from app.settings.loader import find_config_dir, load_with_origins
from app.settings.schema.json_schema import build_json_schema
from app.settings.sources import SCHEMAS, Source

FILES = [name.removesuffix(".yaml") for name in SCHEMAS]

config_dir_option = click.option(
    "--config-dir",
    type=click.Path(path_type=Path),
    help="Folder with settings.yaml and the other files. Default: BFF_CONFIG_DIR, else ServiceConfigs/BFF/config.",
)


@click.group()
def config() -> None:
    """Check, show and describe the configuration."""


@config.command(short_help="Tell everything that is wrong, as a start would.")
@config_dir_option
def check(config_dir: Path | None) -> None:
    """Run exactly the check of a start, and tell everything that is wrong.

    Exits with 0 when the BFF would start with this configuration, else with 1. Only the folders that the BFF writes to
    are left to the start.
    """
    configuration, _ = _load(config_dir)
    check_key_file(configuration.settings)
    console = open_console()
    counts = (
        tell_count(len(configuration.services), "service"),
        tell_count(len(configuration.route_table.routes), "route"),
        tell_count(len(configuration.warnings), "warning"),
    )
    print_warnings(console, configuration.warnings)
    console.print(
        f"The configuration in {find_config_dir(config_dir)} is sound: {', '.join(counts)}.",
        markup=False,
    )


@config.command(short_help="Print what is in effect as YAML, secrets masked.")
@click.argument("file", type=click.Choice(FILES), required=False)
@config_dir_option
def show(file: str | None, config_dir: Path | None) -> None:
    """Print what is in effect as YAML: defaults, files and environment together, secrets masked.

    Behind each value that is not a default stands where it comes from. Without FILE all four are printed.
    """
    configuration, sources = _load(config_dir)
    names = [f"{file}.yaml"] if file else list(SCHEMAS)
    click.echo("---\n".join(render_file(configuration, sources[name]) for name in names), nl=False)


@config.command(short_help="Print the JSON Schema of a file, for editors.")
@click.argument("file", type=click.Choice(FILES), default="settings")
def schema(file: str) -> None:
    """Print the JSON Schema of FILE (default: settings), for editors.

    In VS Code, with the YAML extension, write it to a file and name it in the first line of the YAML file:
    # yaml-language-server: $schema=settings.schema.json
    """
    click.echo(json.dumps(build_json_schema(SCHEMAS[f"{file}.yaml"], f"{file}.yaml"), indent=2, ensure_ascii=False))


def _load(config_dir: Path | None) -> tuple[Configuration, dict[str, Source]]:
    """The configuration and where it comes from; with faults, prints them all and ends the command with 1."""
    try:
        configuration, sources = load_with_origins(config_dir)
    except ConfigurationError as error:
        print_faults(open_console(), error.faults)
        sys.exit(1)
    return configuration, dict(sources)
