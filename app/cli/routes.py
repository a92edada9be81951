"""`bff routes`: see what leads where, and why a call is answered as it is.

Needs the configuration only: no store, no keys and no machine, but for `explain --ask`, which asks the decision point.
"""

from __future__ import annotations

import json
import os
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from app.cli.claims import claims_option, read_claims
from app.cli.config import config_dir_option
from app.cli.explanation import build_explanation, print_explanation
from app.cli.opening import describe_error, fail, load_configuration_or_exit, log_to_standard_error
from app.cli.output import open_console, tell_count
from app.core.errors import LoginFailedError
from app.core.forward_auth import ForwardAuthRule
from app.core.routes import Route
from app.gateway.rehearsal import RehearsedCall, Rehearser
from app.services.authorization import build_path_mapper, build_pdp
from app.services.path_mapper import MappingSource, PathMapper

_LARGEST_FILE_BYTES = 64 * 1024 * 1024
_COLUMNS = ("id", "path", "methods", "auth", "authz", "service", "upstream")


@click.group()
def routes() -> None:
    """See what leads where, and why a call is answered as it is."""


@routes.command("list")
@click.option("--service", metavar="NAME", help="Only the routes to this service.")
@click.option("--authz", type=click.Choice(["pdp", "none"]), help="Only what asks the decision point, or does not.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@config_dir_option
def list_routes(service: str | None, authz: str | None, as_json: bool, config_dir: Path | None) -> None:
    """List the routes in the order of the file, and where each takes its mapping from; behind them the forward_auth
    entries, which an edge asks about.

    Into a file or a pipe goes one line for each, with tabs between the columns.
    """
    configuration = load_configuration_or_exit(config_dir)
    mapper = build_path_mapper(configuration)
    entries = [
        *(_build_entry(route, mapper) for route in configuration.route_table.routes),
        *(_build_forwarded_entry(rule, mapper) for rule in configuration.forward_auth.rules),
    ]
    entries = [e for e in entries if service in (None, e["service"]) and authz in (None, e["authz"])]
    if as_json:
        click.echo(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    console = open_console()
    if not console.is_terminal:
        for entry in entries:
            click.echo("\t".join(_build_cells(entry)))
        return
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for entry in entries:
        table.add_row(*map(Text, _build_cells(entry)))
    console.print(table)
    console.print(Text(_tell_total(entries)))


@routes.command()
@click.argument("method")
@click.argument("path")
@claims_option
@click.option("--body", "body_file", type=click.File("rb"), help="File with the request body; - is stdin.")
@click.option("--header", "-H", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header line; repeatable.")
@click.option("--from", "client_address", metavar="ADDRESS", default="192.0.2.1", help="The client's address.")
@click.option("--ask", is_flag=True, help="Ask the decision point.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_dir_option
def explain(
    method: str,
    path: str,
    claims_file: Any,
    body_file: Any,
    headers: tuple[str, ...],
    client_address: str,
    ask: bool,
    as_json: bool,
    config_dir: Path | None,
) -> None:
    """Tell what becomes of a call, step by step, without making it.

    PATH is the request target as it goes over the wire, with its query. The call is taken for one of a page of ours by
    somebody who is logged in; header lines that you give replace what such a page sends.

    Exits with 0 when the call would pass, with 1 when it would be refused.
    """
    lines = [_parse_header(header) for header in headers]
    _check_address(client_address)
    claims = read_claims(claims_file)
    configuration = load_configuration_or_exit(config_dir)
    with log_to_standard_error():
        decision_point = build_pdp(configuration.pdp, time.monotonic).client if ask else None
        rehearser = Rehearser(configuration, decision_point=decision_point, clock=time.time, monotonic=time.monotonic)
        described = RehearsedCall(
            method=method,
            raw_target=os.fsencode(path).decode("latin-1"),
            headers=lines,
            body=None if body_file is None else body_file.read(_LARGEST_FILE_BYTES),
            claims=claims,
            client_address=client_address,
        )
        try:
            rehearsal = rehearser.rehearse(described)
        except LoginFailedError as error:
            fail(f"Nobody could have logged in with these claims: {describe_error(error)}")
    explanation = build_explanation(rehearsal, configuration, asked=ask)
    if as_json:
        click.echo(json.dumps(explanation, indent=2, ensure_ascii=False))
    else:
        print_explanation(open_console(), explanation)
    sys.exit(0 if explanation["passes"] else 1)


def _tell_total(entries: list[dict[str, Any]]) -> str:
    forwarded_count = sum(entry["kind"] == "forward_auth" for entry in entries)
    routes_told = tell_count(len(entries) - forwarded_count, "route")
    if not forwarded_count:
        return f"{routes_told}."
    return f"{routes_told}, {forwarded_count} forward_auth {'entry' if forwarded_count == 1 else 'entries'}."


def _build_entry(route: Route, mapper: PathMapper) -> dict[str, Any]:
    base_url = route.service.base_urls[0].rstrip("/")
    return {
        "kind": "route",
        "id": route.id,
        "path": route.path,
        "methods": sorted(route.methods),
        "auth": route.auth,
        "authz": route.authz,
        "service": route.service.name,
        "upstream": base_url + (route.path if route.preserve_path else route.upstream_path),
        "mappings": {
            method: [_tell_source(source) for source in mapper.list_sources(route, method)]
            for method in sorted(route.methods)
            if route.authz == "pdp"
        },
    }


def _build_forwarded_entry(rule: ForwardAuthRule, mapper: PathMapper) -> dict[str, Any]:
    """The application is its edge's, so there is no service. Any method is asked about; one that is not among the
    mappings is `unmapped` where the decision point is to be asked."""
    sources = mapper.list_forwarded_sources(rule) if rule.authz == "pdp" else {}
    return {
        "kind": "forward_auth",
        "id": rule.id,
        "host": rule.host,
        "path": rule.path,
        "methods": None,
        "auth": "session",
        "authz": rule.authz,
        "service": None,
        "upstream": None,
        "login_redirect": rule.login_redirect,
        "mappings": {method: [_tell_source(source) for source in sources[method]] for method in sorted(sources)},
    }


def _tell_source(source: MappingSource) -> str:
    return f"endpoint_map {source.path}" if source.kind == "endpoint_map" else source.kind


def _build_cells(entry: dict[str, Any]) -> tuple[str, ...]:
    if entry["kind"] == "forward_auth":
        told = {"methods": "any", "service": "-", "upstream": "forward_auth"}
    else:
        told = {"methods": " ".join(entry["methods"])}
    return tuple({**entry, **told, "authz": _tell_authz(entry)}[column] for column in _COLUMNS)


def _tell_authz(entry: dict[str, Any]) -> str:
    """`pdp: authz_map`, with the methods named only where they differ."""
    by_sources: dict[tuple[str, ...], list[str]] = {}
    for method, sources in entry["mappings"].items():
        by_sources.setdefault(tuple(sources) or ("unmapped",), []).append(method)
    if entry["methods"] is None and entry["authz"] == "pdp":
        by_sources.setdefault(("unmapped",), []).append("others")
    if not by_sources:
        return str(entry["authz"])
    if len(by_sources) == 1:
        return f"{entry['authz']}: {', '.join(next(iter(by_sources)))}"
    parts = [f"{' '.join(methods)} {', '.join(sources)}" for sources, methods in by_sources.items()]
    return f"{entry['authz']}: {'; '.join(parts)}"


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = os.fsencode(line).decode("latin-1").partition(":")
    if not colon or not name:
        raise click.BadParameter("A header line is written as 'Name: value'.", param_hint="--header")
    return name, value.strip(" \t")


def _check_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise click.BadParameter("This is no IP address.", param_hint="--from") from None
