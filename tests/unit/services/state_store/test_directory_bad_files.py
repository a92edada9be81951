"""The directory engine: one bad file is one lost record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.services.state_store.directory import DirectoryStateStore
from tests.unit.services.state_store.directory_files import DAY, find_file, folder, set_age, state
from tests.unit.services.state_store.engines import SteppedClock
from tests.unit.services.state_store.support import KEY, OTHER

__all__ = ["folder", "state"]


def _write_half(file: Path, _: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _write_head_only(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[:10])


def _empty(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def _zero(file: Path, _: Path) -> None:
    file.write_bytes(bytes(len(file.read_bytes())))


def _flip_a_bit_of_the_value(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _prolong_its_life(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)


def _append(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def _copy_another_over_it(file: Path, other: Path) -> None:
    shutil.copy2(other, file)


def _make_it_a_link_to_another(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def _make_it_a_link_to_itself_elsewhere(file: Path, _: Path) -> None:
    moved = file.with_name("moved")
    file.rename(moved)
    file.symlink_to(moved)


def _make_it_a_dangling_link(file: Path, _: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _make_it_a_fifo(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _make_it_a_folder(file: Path, _: Path) -> None:
    file.unlink()
    file.mkdir(mode=0o700)


def _open_it_to_others(file: Path, _: Path) -> None:
    file.chmod(0o644)


def _give_it_a_later_version(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4] = 99
    file.write_bytes(content)


BAD_FILES = {
    "L23-half": _write_half,
    "L23-head-only": _write_head_only,
    "L23-empty": _empty,
    "L23-zeros": _zero,
    "L23-symlink-to-another": _make_it_a_link_to_another,
    "L23-symlink-to-itself": _make_it_a_link_to_itself_elsewhere,
    "L23-symlink-dangling": _make_it_a_dangling_link,
    "L23-fifo": _make_it_a_fifo,
    "L23-folder": _make_it_a_folder,
    "L23-0644": _open_it_to_others,
    "L24-bit-flipped": _flip_a_bit_of_the_value,
    "L24-life-prolonged": _prolong_its_life,
    "L24-appended": _append,
    "L24-foreign": _copy_another_over_it,
    "later-version": _give_it_a_later_version,
}


@pytest.mark.parametrize("spoil", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_one_lost_record(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    state.put(OTHER, b"other", 60)
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    set_age(find_file(folder, KEY), 0)

    with capture_logs() as lines:
        assert state.find(KEY) is None
        assert state.find(KEY) is None
        assert state.take(KEY) is None
        assert state.add(KEY, b"new", 60) is False, "a replayed one-time value became new"
    assert [(line["event"], line["log_level"]) for line in lines] == [("store.record_unreadable", "warning")]
    assert b"value" not in repr(lines).encode()

    other = state.find(OTHER)
    assert other is not None
    assert other.value == b"other"


@pytest.mark.parametrize(
    "spoil",
    [spoil for name, spoil in BAD_FILES.items() if name != "L23-folder"],
    ids=[name for name in BAD_FILES if name != "L23-folder"],
)
def test_a_bad_file_can_be_replaced_and_deleted(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    state.put(OTHER, b"other", 60)
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    state.put(KEY, b"new", 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"new"
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    state.delete(KEY)
    assert state.add(KEY, b"again", 60) is True
    other = state.find(OTHER)
    assert other is not None
    assert other.value == b"other", "a link was followed"


def test_a_record_of_a_later_version_is_left_alone_until_it_is_over(
    state: DirectoryStateStore, folder: Path, clock: SteppedClock
) -> None:
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    _give_it_a_later_version(file, file)
    content = file.read_bytes()
    with capture_logs() as lines:
        state.find(KEY)
    assert lines[0]["reason"] == "it was written by a later version"
    state.take(KEY)
    state.sweep()
    assert file.read_bytes() == content
    clock.step(61)
    assert state.sweep() == 1
    assert not file.exists()


@pytest.mark.parametrize(
    "spoil",
    [_empty, _zero, _make_it_a_dangling_link, _open_it_to_others],
    ids=["empty", "zeros", "link", "0644"],
)
def test_a_file_that_says_no_time_goes_after_a_day(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    spoil(file, file)
    set_age(file, DAY - 60)
    state.sweep()
    assert os.path.lexists(file)
    set_age(file, DAY + 60)
    assert state.sweep() == 1
    assert not os.path.lexists(file)
