"""The key ring: sealing, opening, and the file the keys lie in."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.services.key_ring import (
    KeyFileError,
    KeyRing,
    SealBrokenError,
    build_default_key_file,
    load_or_create_key_ring,
)
from app.services.state_store.private_files import UnsafePermissionsError

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.key"


def write_key_file(path: Path, *keys: bytes, mode: int = 0o600) -> None:
    path.write_bytes(b"\n".join(base64.b64encode(key) for key in keys) + b"\n")
    path.chmod(mode)


# Sealing


def test_what_was_sealed_opens() -> None:
    ring = KeyRing([OLD])
    assert ring.open(ring.seal(b"tokens", "tokens:x"), "tokens:x") == b"tokens"


def test_sealing_hides_the_content_and_never_repeats_itself() -> None:
    ring = KeyRing([OLD])
    sealed = {ring.seal(b"tokens", "tokens:x") for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"tokens" in each for each in sealed)


def test_what_was_sealed_for_one_record_does_not_open_as_another() -> None:
    ring = KeyRing([OLD])
    with pytest.raises(SealBrokenError):
        ring.open(ring.seal(b"tokens", "tokens:x"), "tokens:y")


def test_every_changed_byte_breaks_the_seal() -> None:
    ring = KeyRing([OLD])
    sealed = ring.seal(b"tokens", "tokens:x")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBrokenError):
            ring.open(bytes(changed), "tokens:x")


@pytest.mark.parametrize("length", [0, 1, 9, 20, 21, 30])
def test_a_part_of_it_does_not_open(length: int) -> None:
    ring = KeyRing([OLD])
    with pytest.raises(SealBrokenError):
        ring.open(ring.seal(b"tokens", "tokens:x")[:length], "tokens:x")


def test_the_first_key_seals_and_all_open() -> None:
    before, between, after = KeyRing([OLD]), KeyRing([OLD, NEW]), KeyRing([NEW, OLD])
    sealed_before, sealed_after = before.seal(b"old", "x"), after.seal(b"new", "x")
    assert after.open(sealed_before, "x") == b"old"
    assert between.open(sealed_after, "x") == b"new"
    with pytest.raises(SealBrokenError, match="not in the key file"):
        before.open(sealed_after, "x")


def test_no_key_is_shown() -> None:
    shown = repr(KeyRing([OLD, NEW]))
    assert shown == "<KeyRing of 2 keys>"


@pytest.mark.parametrize("keys", [[], [b"short"], [OLD, b"x" * 33]])
def test_a_ring_needs_keys_of_32_bytes(keys: list[bytes]) -> None:
    with pytest.raises(ValueError):
        KeyRing(keys)


# The file


def test_a_file_may_hold_several_keys_and_empty_lines(path: Path) -> None:
    path.write_bytes(b"\n" + base64.b64encode(NEW) + b"\r\n\n  " + base64.b64encode(OLD))
    path.chmod(0o600)
    assert KeyRing.load(path).open(KeyRing([OLD]).seal(b"x", "y"), "y") == b"x"
    assert KeyRing([NEW]).open(KeyRing.load(path).seal(b"x", "y"), "y") == b"x"


def test_a_missing_file_is_made_closed_and_kept(path: Path) -> None:
    path = path.parent / "var" / "data.key"
    before = os.umask(0)
    try:
        ring = load_or_create_key_ring(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert load_or_create_key_ring(path).open(ring.seal(b"x", "y"), "y") == b"x"


def test_workers_that_start_at_once_come_to_share_one_key(path: Path) -> None:
    script = (
        "import sys, pathlib; from app.services.key_ring import load_or_create_key_ring; sys.stdin.readline();"
        "ring = load_or_create_key_ring(pathlib.Path(sys.argv[1])); print(ring.seal(b'x', 'y').hex())"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    sealed = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        sealed.append(bytes.fromhex(worker.communicate()[0]))
    ring = KeyRing.load(path)
    assert [ring.open(each, "y") for each in sealed] == [b"x"] * 4
    assert list(path.parent.iterdir()) == [path]


def test_whoever_comes_second_takes_the_key_of_the_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.link

    def come_second(*arguments: Path) -> None:
        write_key_file(path, OLD)
        original(*arguments)

    monkeypatch.setattr(os, "link", come_second)
    ring = load_or_create_key_ring(path)
    assert ring.open(KeyRing([OLD]).seal(b"x", "y"), "y") == b"x"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o604, 0o666])
def test_a_file_of_ours_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    write_key_file(path, OLD, mode=mode)
    with pytest.raises(UnsafePermissionsError, match=f"chmod 0600 {path}"):
        load_or_create_key_ring(path)


@pytest.mark.parametrize(
    ("mode", "is_accepted"), [(0o444, True), (0o440, True), (0o400, True), (0o664, False), (0o606, False)]
)
def test_a_secret_that_root_mounted_may_be_readable_but_not_writable(
    path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, is_accepted: bool
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a file of root's")
    write_key_file(path, OLD, mode=mode)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if is_accepted:
        KeyRing.load(path)
    else:
        with pytest.raises(UnsafePermissionsError):
            KeyRing.load(path)


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    write_key_file(path, OLD)
    os.chown(path, 1001, 1001)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsafePermissionsError, match="belongs to user id 1001"):
        KeyRing.load(path)


def test_a_link_to_the_file_is_followed_as_kubernetes_mounts_it(path: Path) -> None:
    write_key_file(path, OLD)
    link = path.with_name("link.key")
    link.symlink_to(path)
    KeyRing.load(link)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n \n",
        b"not base64!\n",
        base64.b64encode(b"too short") + b"\n",
        base64.b64encode(bytes(32)) + b"\n",
        base64.b64encode(b"ab" * 16) + b"\n",
        base64.b64encode(OLD) + b"\n" + b"changeme\n",
        OLD,
    ],
    ids=["empty", "blank", "no-base64", "short", "zeros", "repeated", "second-line", "raw"],
)
def test_a_file_that_holds_something_else_is_refused_without_showing_it(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        KeyRing.load(path)
    assert str(path) in str(caught.value)
    assert not any(line.decode("latin-1") in str(caught.value) for line in content.split() if line)


def test_a_missing_file_and_a_folder_are_refused(path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        KeyRing.load(path)
    with pytest.raises(KeyFileError, match="not a regular file"):
        KeyRing.load(path.parent)


def test_the_default_file_lies_beside_the_directory() -> None:
    assert build_default_key_file(Path("/srv/bff/state")) == Path("/srv/bff/state.key")
