"""The agendas of the directory engine: an empty file an entry, whose name says when it is due and whose it is.

    agendas/<agenda>/<2 hex digits of the member's SHA-256>/<due, microseconds>-<random>-<member>

Looking for what is due reads names and opens nothing: 7 ms with 10,000 entries. Planning anew, claiming and putting
off are one rename each, so whoever is killed leaves the old time or the new one. The random part makes every name
unlike all others: a claim's ticket is the name it gave, and is worth nothing once the entry is called otherwise.

Names change only under the lock of their folder; where nothing is due, looking takes none. Methods raise `OSError`;
the engine turns it into `StoreUnavailableError`.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from app.services.state_store.agenda_values import MICROSECONDS, build_microseconds, check_agenda, check_member
from app.services.state_store.file_lock import hold_folder_lock
from app.services.state_store.interface import Claim
from app.services.state_store.private_files import UnsafePermissionsError, create_private_file, make_private_folder

_DUE_DIGITS = 17
_NAME = re.compile(r"[0-9]{17}-[0-9a-f]{8}-[A-Za-z0-9._~-]+")
_MEMBER_OFFSET = _DUE_DIGITS + len("-12345678-")


class AgendaFiles:
    """`clock` gives epoch seconds. An agenda's folders are made when they are first needed."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        """Makes a folder (0700) in the store's own; `UnsafePermissionsError` if others can write there."""
        self._agendas = root / "agendas"
        self._clock = clock
        self._made: set[Path] = set()
        make_private_folder(self._agendas)

    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        folder = self._build_folder(agenda, member)
        self._make_folder(folder)
        with hold_folder_lock(folder):
            planned = [name for name in _list_names(folder) if name[_MEMBER_OFFSET:] == member]
            new = folder / self._build_name(member, delay_seconds)
            if planned:
                (folder / planned[0]).rename(new)
            else:
                create_private_file(new, b"")

    def claim_due(self, agenda: str, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        """Begins at a folder of chance, so that several claimers seldom meet and no folder is always the last. What
        one bad folder holds back does not keep the rest from being claimed."""
        claims: list[Claim] = []
        fault: OSError | None = None
        for folder in self._list_folders(agenda):
            if len(claims) >= limit:
                break
            try:
                claims += self._claim_in(folder, limit - len(claims), lease_seconds)
            except OSError as error:
                fault = error
            time.sleep(0)  # lets other greenlets run
        if fault and not claims:
            raise fault
        return tuple(claims)

    def settle(self, agenda: str, claim: Claim, again_in_seconds: float | None) -> None:
        folder = self._build_folder(agenda, claim.member)
        with hold_folder_lock(folder):
            if claim.ticket not in _list_names(folder):
                return
            claimed = folder / str(claim.ticket)
            if again_in_seconds is None:
                claimed.unlink()
            else:
                claimed.rename(folder / self._build_name(claim.member, again_in_seconds))

    def _claim_in(self, folder: Path, limit: int, lease_seconds: float) -> list[Claim]:
        if not self._list_due(folder):
            return []
        claims = []
        with hold_folder_lock(folder):
            for name in self._list_due(folder)[:limit]:
                member = name[_MEMBER_OFFSET:]
                ticket = self._build_name(member, lease_seconds)
                (folder / name).rename(folder / ticket)
                claims.append(Claim(member, ticket))
        return claims

    def _list_due(self, folder: Path) -> list[str]:
        """The longest due first."""
        now = f"{self._clock_microseconds():0{_DUE_DIGITS}d}"
        return sorted(name for name in _list_names(folder) if name[:_DUE_DIGITS] <= now)

    def _list_folders(self, agenda: str) -> list[Path]:
        check_agenda(agenda)
        try:
            folders = list((self._agendas / agenda).iterdir())
        except FileNotFoundError:
            self._agendas.stat()  # a store that is gone is broken, not empty
            return []
        first = random.randrange(len(folders) or 1)  # noqa: S311
        return folders[first:] + folders[:first]

    def _build_folder(self, agenda: str, member: str) -> Path:
        check_agenda(agenda)
        check_member(member)
        return self._agendas / agenda / hashlib.sha256(member.encode()).hexdigest()[:2]

    def _make_folder(self, folder: Path) -> None:
        if folder in self._made:
            return
        self._agendas.stat()  # never made anew here: it may lie on a disk that is not mounted
        try:
            for each in (folder.parent, folder):
                make_private_folder(each)
        except UnsafePermissionsError as error:
            raise PermissionError(str(error)) from error
        self._made.add(folder)

    def _build_name(self, member: str, delay_seconds: float) -> str:
        due_at = self._clock_microseconds() + build_microseconds(delay_seconds)
        return f"{due_at:0{_DUE_DIGITS}d}-{secrets.token_hex(4)}-{member}"

    def _clock_microseconds(self) -> int:
        return round(self._clock() * MICROSECONDS)


def _list_names(folder: Path) -> list[str]:
    """Passes over what bears no name of ours, the lock among it."""
    with os.scandir(folder) as found:
        return [file.name for file in found if _NAME.fullmatch(file.name)]
