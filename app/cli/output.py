"""How the commands print: coloured and grouped at a terminal, one plain line a fact for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.text import Text

from app.settings import Fault


def open_console() -> Console:
    """Nothing is cut off or wrapped when the output goes to a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True)


def print_faults(console: Console, faults: tuple[Fault, ...]) -> None:
    count = f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}"
    console.print(Text(f"The configuration has {count}.", style="bold red"))
    if not console.is_terminal:
        for fault in faults:
            console.print(Text(str(fault)))
        return
    for file, group in groupby(faults, key=lambda fault: fault.file):
        console.print()
        console.print(Text(file, style="bold"))
        for fault in group:
            _print_fault(console, fault)


def _print_fault(console: Console, fault: Fault) -> None:
    line = f"line {fault.line}" if fault.line is not None else ""
    if line or fault.key:
        console.print(Text.assemble("  ", (f"{line:<9}", "dim"), (fault.key, "bold")))
    console.print(Text.assemble("           ", ("found   ", "dim"), (fault.found, "red")))
    console.print(Text.assemble("           ", ("wanted  ", "dim"), (fault.wanted, "green")))


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))
