from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from joserfc import jws
from joserfc.jwk import JWKRegistry

from app.services.key_store import Algorithm, KeyStore, KeyStoreError
from app.services.key_store.factory import FILE_NAME
from tests.unit.services.key_store.support import open_key_store

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def open_store(directory: Path, algorithm: Algorithm = "ES256", now: float = 1_700_000_000.0) -> KeyStore:
    return open_key_store(directory, algorithm, clock=lambda: now)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "var" / "keys"


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_the_first_start_makes_a_key_that_signs_and_is_published(directory: Path, algorithm: Algorithm) -> None:
    store = open_store(directory, algorithm)
    (published,) = store.public_jwks()["keys"]
    assert published["alg"] == store.current.algorithm == algorithm
    assert published["kid"] == store.current.kid
    assert published["use"] == "sig"

    header = {"alg": algorithm, "kid": store.current.kid}
    token = jws.serialize_compact(header, b"claims", store.current.private_key, algorithms=[algorithm])
    public_key = JWKRegistry.import_key({**published})
    assert jws.deserialize_compact(token, public_key, algorithms=[algorithm]).payload == b"claims"


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_t19_no_private_part_is_published(directory: Path, algorithm: Algorithm) -> None:
    published = open_store(directory, algorithm).public_jwks()
    stored = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"][0]["private_jwk"]

    assert PRIVATE_MEMBERS & set(stored)
    assert not PRIVATE_MEMBERS & set(published["keys"][0])
    assert not any(stored[name] in json.dumps(published) for name in PRIVATE_MEMBERS & set(stored))


def test_the_kid_is_the_thumbprint_of_the_key(directory: Path) -> None:
    store = open_store(directory)

    assert JWKRegistry.import_key({**store.public_jwks()["keys"][0]}).thumbprint() == store.current.kid


def test_the_next_start_finds_the_same_key(directory: Path) -> None:
    first, second = open_store(directory), open_store(directory, now=1_800_000_000.0)

    assert second.public_jwks() == first.public_jwks()
    assert second.current.created_at == 1_700_000_000.0


def test_files_are_private_from_the_first_byte(directory: Path) -> None:
    open_store(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(path.name for path in directory.iterdir()) == ["lock", FILE_NAME]
    assert stat.S_IMODE((directory / FILE_NAME).stat().st_mode) == 0o600


STARTER_PROGRAM = """
import sys
from pathlib import Path
from tests.unit.services.key_store.support import open_key_store

print("ready", flush=True)
sys.stdin.readline()
print(open_key_store(Path(sys.argv[1])).current.kid)
"""


def test_processes_that_start_at_once_agree_on_one_key(directory: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER_PROGRAM, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("\n")
        starter.stdin.flush()
    kids = set()
    for starter in starters:
        with starter:
            output, _ = starter.communicate(timeout=60)
            kids.add(output.splitlines()[-1])

    assert len(kids) == 1
    assert sorted(path.name for path in directory.iterdir()) == ["lock", FILE_NAME]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_key_that_others_may_read_is_refused(directory: Path, mode: int) -> None:
    open_store(directory)
    (directory / FILE_NAME).chmod(mode)

    with pytest.raises(KeyStoreError, match=rf"{FILE_NAME} \(mode {mode:04o}\).*chmod 600"):
        open_store(directory)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(directory: Path, mode: int) -> None:
    open_store(directory)
    directory.chmod(mode)

    with pytest.raises(KeyStoreError, match="chmod 700"):
        open_store(directory)


def test_a_symlink_in_place_of_the_file_is_refused(directory: Path, tmp_path: Path) -> None:
    open_store(tmp_path / "elsewhere")
    directory.mkdir(parents=True, mode=0o700)
    (directory / FILE_NAME).symlink_to(tmp_path / "elsewhere" / FILE_NAME)

    with pytest.raises(KeyStoreError):
        open_store(directory)


def test_a_dangling_symlink_is_not_written_through(directory: Path, tmp_path: Path) -> None:
    directory.mkdir(parents=True, mode=0o700)
    (directory / FILE_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeyStoreError):
        open_store(directory)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_place_of_the_file_is_refused(directory: Path) -> None:
    (directory / FILE_NAME).mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)

    with pytest.raises(KeyStoreError):
        open_store(directory)


def change_file(directory: Path, **changes: Any) -> None:
    path = directory / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}', b'{"version": 1, "keys": [{}]}', b"\xff", b"[]"])
def test_a_damaged_file_is_refused_without_showing_it(directory: Path, content: bytes) -> None:
    open_store(directory)
    (directory / FILE_NAME).write_bytes(content)

    with pytest.raises(KeyStoreError, match="is damaged"):
        open_store(directory)


def test_a_key_that_is_not_the_one_its_name_says_is_refused_without_showing_it(directory: Path) -> None:
    open_store(directory)
    stored = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"]
    secret = stored[0]["private_jwk"]["d"]
    change_file(directory, keys=[{**stored[0], "kid": "other"}])

    with pytest.raises(KeyStoreError, match="is damaged") as refused:
        open_store(directory)
    assert secret not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_public_key_alone_is_refused(directory: Path) -> None:
    open_store(directory)
    (stored,) = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"]
    del stored["private_jwk"]["d"]
    change_file(directory, keys=[stored])

    with pytest.raises(KeyStoreError, match="is damaged"):
        open_store(directory)


def test_a_file_of_a_later_version_is_refused(directory: Path) -> None:
    open_store(directory)
    change_file(directory, version=2)

    with pytest.raises(KeyStoreError, match="has format 2"):
        open_store(directory)


def test_a_file_without_a_current_key_is_refused(directory: Path) -> None:
    open_store(directory)
    change_file(directory, keys=[])

    with pytest.raises(KeyStoreError, match="no current signing key"):
        open_store(directory)


def test_retired_and_next_keys_are_published_after_the_current_one(directory: Path, tmp_path: Path) -> None:
    open_store(directory)
    others = []
    for number, state in enumerate(("retired", "next")):
        open_store(tmp_path / state, now=1_700_000_000.0 + number)
        (other,) = json.loads((tmp_path / state / FILE_NAME).read_text(encoding="utf-8"))["keys"]
        others.append({**other, "state": state})
    (current,) = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"]
    change_file(directory, keys=[*others, current])

    store = open_store(directory)
    assert store.current.kid == current["kid"]
    assert [key["kid"] for key in store.public_jwks()["keys"]] == [current["kid"], others[1]["kid"], others[0]["kid"]]


def test_nothing_secret_is_in_a_repr(directory: Path) -> None:
    store = open_store(directory)
    secret = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))["keys"][0]["private_jwk"]["d"]

    assert secret not in f"{store!r} {store.current!r} {store.current}"
    assert store.current.kid in repr(store.current)


def test_a_folder_that_cannot_be_made_is_told_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KeyStoreError, match="cannot be used"):
        open_store(tmp_path / "file" / "keys")
