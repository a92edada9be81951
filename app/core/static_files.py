"""What the files of a single-page application are served with, and which paths can name one (RFC 9110, RFC 9111).

A path names a file by its segments, each decoded once; a segment that begins with a dot names nothing, so `.env` and
`.git` in a folder that was copied whole stay unseen. What is below a prefix of ours is never a page of an application:
a mistyped API path stays a 404 for the program that called it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

INDEX = "index.html"
RESERVED_PREFIXES = ("/api", "/auth", "/access", "/.well-known", "/health", "/metrics", "/admin")

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Scripts, styles and calls from the application's own origin only: nothing injected into a page could run or leave."""

_TYPES = {
    "avif": "image/avif",
    "css": "text/css",
    "csv": "text/csv",
    "gif": "image/gif",
    "html": "text/html",
    "ico": "image/x-icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "application/xml",
}
"""Our own table: the machine's may say anything, and with `nosniff` a wrong type is a page that does not start."""
_TEXT = frozenset({"application/json", "application/manifest+json", "application/xml", "image/svg+xml"})

_HASHED = re.compile(r"(?:.*/)?assets/(?:.*/)?[^/]*[-.](?=[A-Za-z0-9_-]*[0-9A-Z_])[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9]+)+")


def find_file_segments(path: str) -> tuple[str, ...] | None:
    """Returns the names that lead from the folder to the file of a checked raw path; None when it can name none.

    `path` has passed `parse_request_target` without oddities: it holds no dot segment, backslash or encoded slash.
    """
    names = unquote(path[1:], errors="strict").split("/")
    if names[-1] == "":
        names[-1] = INDEX
    if any(not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name for name in names):
        return None
    return tuple(names)


def is_reserved(path: str) -> bool:
    """Tells whether a path is below one of our prefixes, where an application has no pages."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in RESERVED_PREFIXES)


def choose_cache_control(file_path: str) -> str:
    """Returns how long a file may be kept: for ever when its name changes with its content, else ask each time.

    Bundlers write such names into a folder `assets`: a dash or dot, and eight characters or more that are no plain
    lower-case word.
    """
    return "public, max-age=31536000, immutable" if _HASHED.fullmatch(file_path) else "no-cache"


def choose_content_type(name: str) -> str:
    """Returns the media type by the ending; what is not known is bytes, which no browser runs (`nosniff`)."""
    media_type = _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    is_text = media_type.startswith("text/") or media_type in _TEXT
    return f"{media_type}; charset=utf-8" if is_text else media_type
