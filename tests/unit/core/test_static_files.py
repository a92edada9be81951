"""Which paths can name a file of an application, and what the file is served with."""

from __future__ import annotations

import pytest

from app.core.static_files import choose_cache_control, choose_content_type, find_file_segments, is_reserved


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("index.html",)),
        ("/favicon.ico", ("favicon.ico",)),
        ("/assets/index-Bx3_Yz12.js", ("assets", "index-Bx3_Yz12.js")),
        ("/docs/", ("docs", "index.html")),
        ("/a%20file.txt", ("a file.txt",)),
        ("/%C3%BC.txt", ("ü.txt",)),
    ],
)
def test_a_path_names_a_file_by_its_decoded_segments(path: str, segments: tuple[str, ...]) -> None:
    assert find_file_segments(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/.git/config",
        "/assets/.hidden",
        "/.well-known/x",
        "/..",
        "/a/../b",
        "/%2e%2e/x",
        "/%2Fetc",
        "/a%5Cb",
        "/%00",
    ],
)
def test_hidden_files_and_ways_out_are_no_files(path: str) -> None:
    assert find_file_segments(path) is None


@pytest.mark.parametrize(
    "path", ["/api", "/api/x", "/auth/login", "/access/v1/x", "/.well-known/x", "/health", "/metrics", "/admin/x"]
)
def test_what_is_ours_is_no_page(path: str) -> None:
    assert is_reserved(path)


@pytest.mark.parametrize("path", ["/", "/forms/1", "/apis", "/authors", "/administration", "/healthy"])
def test_what_only_looks_like_ours_may_be_a_page(path: str) -> None:
    assert not is_reserved(path)


@pytest.mark.parametrize(
    ("file_path", "is_immutable"),
    [
        ("assets/index-Bx3_Yz12.js", True),
        ("assets/index-Bx3_Yz12.js.map", True),
        ("assets/logo.4f1a9c2e.svg", True),
        ("app/assets/chunk-DqWertYu.css", True),
        ("index.html", False),
        ("assets/my-component.js", False),
        ("assets/logo.svg", False),
        ("sw-Bx3_Yz12.js", False),
        ("myassets/index-Bx3_Yz12.js", False),
    ],
)
def test_only_what_changes_its_name_with_its_content_is_kept_for_ever(file_path: str, is_immutable: bool) -> None:
    assert ("immutable" in choose_cache_control(file_path)) is is_immutable
    assert (choose_cache_control(file_path) == "no-cache") is not is_immutable


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.js", "text/javascript; charset=utf-8"),
        ("A.MJS", "text/javascript; charset=utf-8"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.woff2", "font/woff2"),
        ("a.unknown", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
    ],
)
def test_the_type_comes_from_the_ending(name: str, content_type: str) -> None:
    assert choose_content_type(name) == content_type
