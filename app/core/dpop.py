"""What a server says about DPoP nonces in its answers (RFC 9449 §8 and §9). Pure: header lines in, judgement out.

A server that lies here can at most make one call be sent a second time with what it said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NONCE_CHARACTERS = 1024
"""The RFC names no limit; a longer one would make request heads that servers refuse."""

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 9449 §8.1: `1*NQCHAR`."""
_MAX_CHALLENGE_CHARACTERS = 4096
_CHALLENGE_PART = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)  # a scheme, or the name of a parameter (RFC 9110 §11.2)
        (?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+)))?""",
    re.VERBOSE,
)


def find_nonce(values: Iterable[str]) -> str | None:
    """Returns the nonce in the values of an answer's `DPoP-Nonce` lines; None without exactly one, well-formed."""
    found = list(values)
    if len(found) != 1 or len(found[0]) > MAX_NONCE_CHARACTERS or not _NONCE.fullmatch(found[0]):
        return None
    return found[0]


def has_nonce_challenge(values: Iterable[str]) -> bool:
    """Tells whether `WWW-Authenticate` lines ask for a proof with a nonce (RFC 9449 §9).

    Only the `error` of a DPoP challenge counts, not the same words in another scheme's or within a quoted text.
    """
    return any(_asks_for_nonce(value) for value in values if len(value) <= _MAX_CHALLENGE_CHARACTERS)


def _asks_for_nonce(value: str) -> bool:
    scheme = ""
    for part in _CHALLENGE_PART.finditer(value):
        name, quoted, token = part.groups()
        if quoted is None and token is None:
            scheme = name.lower()
        elif scheme == "dpop" and name.lower() == "error" and (token or quoted) == "use_dpop_nonce":
            return True
    return False
