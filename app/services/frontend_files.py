"""The folder of one single-page application, as it is on the disk now: a new build needs no restart.

What a path leads to is opened only when it is a regular file within the folder once every symbolic link is followed:
a deployment may switch a whole folder by a link, or mount files by links within it, and no link leads out of it.
Entity tags are made from the content, so that all machines agree and an image with fixed times does not lie.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from urllib.parse import urlsplit

from app.core.static_files import INDEX
from app.settings import Settings

_TAGS_REMEMBERED = 4096
_PRECOMPRESSED = (("br", ".br"), ("gzip", ".gz"))


@dataclass(slots=True)
class OpenFile:
    """A file ready to be sent; whoever opened it closes `content`."""

    name: str
    """Relative to the folder; what type and lifetime go by, also when a compressed twin is sent."""
    content: BufferedReader
    size: int
    entity_tag: str
    encoding: str
    """`br`, `gzip`, or empty."""
    has_variants: bool
    """The folder holds the file in more than one encoding."""


@dataclass(frozen=True, slots=True)
class _Version:
    """Tells one content from another without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class FrontendFiles:
    """The files of one application."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._tags: dict[_Version, str] = {}

    def find(self, segments: Sequence[str], encodings: Sequence[str] = ()) -> OpenFile | None:
        """Opens the file at `segments`, or its twin in the first of `encodings` that there is; None without a file."""
        name = "/".join(segments)
        plain = self._open(name)
        if plain is None:
            return None
        twins = {encoding: f"{name}{suffix}" for encoding, suffix in _PRECOMPRESSED}
        found = {encoding: twin for encoding, path in twins.items() if (twin := self._open(path)) is not None}
        chosen = next((encoding for encoding in encodings if encoding in found), "")
        content = found.pop(chosen) if chosen else plain
        for other in (*found.values(), *([plain] if chosen else [])):
            other.close()
        size, tag = self._describe(content)
        return OpenFile(name, content, size, tag, chosen, has_variants=bool(found) or bool(chosen))

    def find_index(self, encodings: Sequence[str] = ()) -> OpenFile | None:
        """Opens the page that stands for every address of the application."""
        return self.find((INDEX,), encodings)

    def _open(self, name: str) -> BufferedReader | None:
        root = os.path.realpath(self._directory)
        path = os.path.realpath(f"{root}/{name}")
        if not path.startswith(f"{root}/"):
            return None
        try:
            # Not blocking: a named pipe would be waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb")

    def _describe(self, content: BufferedReader) -> tuple[int, str]:
        status = os.fstat(content.fileno())
        version = _Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        tag = self._tags.get(version)
        if tag is None:
            tag = hashlib.file_digest(content, "sha256").hexdigest()[:32]
            content.seek(0)
            if len(self._tags) >= _TAGS_REMEMBERED:
                self._tags.clear()
            self._tags[version] = tag
        return status.st_size, tag


@dataclass(frozen=True, slots=True)
class Frontend:
    """One single-page application on a host of ours."""

    files: FrontendFiles
    content_security_policy: str
    """Empty: the standard one."""


def build_frontends(settings: Settings) -> dict[str, Frontend]:
    """Returns the applications by `host[:port]`, as an origin of ours writes it."""
    by_host = {
        entry.host: Frontend(FrontendFiles(entry.directory), entry.content_security_policy)
        for entry in settings.frontends
    }
    origins = map(urlsplit, settings.server.origins)
    return {parts.netloc: by_host[parts.hostname] for parts in origins if parts.hostname in by_host}
