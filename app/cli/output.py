"""How the commands print: coloured and grouped at a terminal, one plain line a fact for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.settings import Fault


def open_console() -> Console:
    """Nothing is cut off or wrapped when the output goes to a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True)


def tell_count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def make_printable(text: str) -> str:
    """What strangers chose may hold line ends, tabs or orders to a terminal; each such character becomes one mark."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


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
        console.print(_build_table(list(group)))


def _build_table(faults: list[Fault]) -> Table:
    """Three lines a fault: where, what was found, what is wanted."""
    table = Table.grid(padding=(0, 2))
    for fault in faults:
        line = f"line {fault.line}" if fault.line is not None else ""
        if line or fault.key:
            table.add_row(Text(f"  {line}", style="dim"), Text(), Text(fault.key, style="bold"))
        table.add_row("", Text("found", style="dim"), Text(fault.found, style="red"))
        table.add_row("", Text("wanted", style="dim"), Text(fault.wanted, style="green"))
    return table


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))
