"""Who may call `/admin`: whoever shows the one token, and without a token nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import AccessDeniedError, TokenInvalidError
from app.services.admin_token import AdminToken
from tests.unit.settings.config_folder import ConfigFolder

TOKEN = "0123456789abcdef" * 4


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
def test_the_token_opens(authorization: str) -> None:
    AdminToken(TOKEN).check(authorization)


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}, Bearer x", f"Bearer {'a' * 100_000}", "Bearer \xe4"],
)  # fmt: skip
def test_nothing_else_does(authorization: str | None) -> None:
    with pytest.raises(TokenInvalidError) as refused:
        AdminToken(TOKEN).check(authorization)
    assert [name for name, _ in refused.value.headers] == ["WWW-Authenticate"]
    assert TOKEN not in f"{refused.value!r}{refused.value.detail}{refused.value.internal_reason}"


@pytest.mark.parametrize("authorization", [None, "Bearer x", f"Bearer {TOKEN}"])
def test_without_a_token_in_the_settings_nobody_may_call_and_the_sentence_says_why(authorization: str | None) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        AdminToken("").check(authorization)
    assert "admin.token_file" in refused.value.detail


def test_the_token_is_the_files_without_its_line_end(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path)
    (tmp_path / "admin.token").write_text(f"{TOKEN}\n")
    folder.change("admin.token_file", str(tmp_path / "admin.token"))
    AdminToken.from_settings(folder.load().settings).check(f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    "content", ["", "\n", "too-short", "x" * 31, f"{TOKEN} {TOKEN}", f"{TOKEN}\n{TOKEN}\n", "ä" * 40]
)
def test_a_file_without_one_good_token_keeps_the_bff_from_starting(tmp_path: Path, content: str) -> None:
    folder = ConfigFolder(tmp_path)
    (tmp_path / "admin.token").write_text(content)
    folder.change("admin.token_file", str(tmp_path / "admin.token"))
    [fault] = folder.find_faults()
    assert (fault.file, fault.key) == ("settings.yaml", "admin.token_file")
    assert "openssl rand -hex 32" in fault.wanted
    assert content.strip() not in (fault.found, fault.wanted)
