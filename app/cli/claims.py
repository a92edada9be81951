"""The claims of a user who is made up for a command: out of a file, or of somebody who has just logged in."""

from __future__ import annotations

import json
import time
from typing import Any

import click

SAMPLE_USER = "sample-user"

claims_option = click.option(
    "--as", "claims_file", type=click.File("rb"), help="JSON object with the user's claims; - is stdin."
)


def read_claims(claims_file: Any) -> dict[str, object]:
    """Without a file somebody who has just logged in, and of whom nothing is known but a name."""
    if claims_file is None:
        return {"sub": SAMPLE_USER, "auth_time": int(time.time())}
    try:
        claims = json.load(claims_file)
    except ValueError:
        raise click.BadParameter("The file is not JSON.", param_hint="--as") from None
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        raise click.BadParameter("The file holds no JSON object with a sub.", param_hint="--as")
    return claims
