"""`frontends` that could never be served are refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.config_folder import ConfigFolder


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    directory = tmp_path / "dist"
    directory.mkdir()
    (directory / "index.html").write_text("<!doctype html>", encoding="utf-8")
    return directory


def test_a_built_application_on_a_host_of_ours_is_taken(folder: ConfigFolder, dist: Path) -> None:
    folder.change("server.allowed_hosts", ["https://b.example.com:8443"])
    folder.change(
        "frontends",
        [{"host": "APP.example.com", "directory": str(dist)}, {"host": "b.example.com", "directory": str(dist)}],
    )
    hosts = [entry.host for entry in folder.load().settings.frontends]
    assert hosts == ["app.example.com", "b.example.com"]


def test_a_host_that_is_not_ours_is_refused(folder: ConfigFolder, dist: Path) -> None:
    folder.change("frontends", [{"host": "other.example.com", "directory": str(dist)}])
    fault = folder.find_fault()
    assert fault.key == "frontends[0].host"
    assert "server.allowed_hosts" in fault.wanted


def test_two_applications_on_one_host_are_refused(folder: ConfigFolder, dist: Path) -> None:
    folder.change("frontends", [{"host": "app.example.com", "directory": str(dist)}] * 2)
    assert folder.find_fault().key == "frontends[1].host"


def test_a_missing_folder_is_refused(folder: ConfigFolder, tmp_path: Path) -> None:
    folder.change("frontends", [{"host": "app.example.com", "directory": str(tmp_path / "nowhere")}])
    fault = folder.find_fault()
    assert fault.key == "frontends[0].directory"
    assert "there is none of this name" in fault.wanted


def test_a_folder_without_a_built_application_is_refused(folder: ConfigFolder, tmp_path: Path) -> None:
    folder.change("frontends", [{"host": "app.example.com", "directory": str(tmp_path)}])
    assert "build the application first" in folder.find_fault().wanted


def test_an_index_that_is_a_link_out_of_the_folder_is_refused(folder: ConfigFolder, dist: Path, tmp_path: Path) -> None:
    (dist / "index.html").rename(tmp_path / "elsewhere.html")
    (dist / "index.html").symlink_to(tmp_path / "elsewhere.html")
    folder.change("frontends", [{"host": "app.example.com", "directory": str(dist)}])
    assert "links that lead out" in folder.find_fault().wanted


def test_a_policy_with_a_line_break_is_refused(folder: ConfigFolder, dist: Path) -> None:
    policy = "default-src 'self'\nSet-Cookie: a=b"
    folder.change("frontends", [{"host": "app.example.com", "directory": str(dist), "content_security_policy": policy}])
    assert folder.find_fault().key == "frontends[0].content_security_policy"
