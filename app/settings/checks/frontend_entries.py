"""The `frontends` of settings.yaml: each on a host of ours, each with a built application in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from app.core.static_files import INDEX
from app.settings.checks.draft import Draft
from app.settings.findings import Finding


def check_frontends(draft: Draft) -> Iterator[Finding]:
    own_hosts = {urlsplit(origin).hostname for origin in draft.settings.server.origins}
    seen: set[str] = set()
    for index, entry in enumerate(draft.settings.frontends):
        if entry.host in seen:
            yield draft.in_settings("frontends", index, "host", wanted="each host once: it has one application")
        elif entry.host not in own_hosts:
            wanted = "a host of server.public_url or server.allowed_hosts: no other is answered"
            yield draft.in_settings("frontends", index, "host", wanted=wanted)
        seen.add(entry.host)
        if wanted := _find_obstacle(entry.directory):
            yield draft.in_settings("frontends", index, "directory", wanted=wanted)


def _find_obstacle(directory: str) -> str:
    """What is wanted instead of a folder that cannot be served; empty when it can."""
    folder = Path(directory)
    try:
        if not folder.is_dir():
            return "a folder that can be read: there is none of this name"
        index = folder / INDEX
        if not index.is_file() or not os.access(index, os.R_OK):
            return f"a folder with a readable {INDEX} in it: build the application first"
        if not index.resolve().is_relative_to(folder.resolve()):
            return f"a folder whose {INDEX} is in it: links that lead out of the folder are not followed"
    except (OSError, ValueError):
        return "a folder that can be read"
    return ""
