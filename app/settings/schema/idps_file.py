"""The schema of `idps.yaml`: whose bearer tokens are accepted on `auth: bearer` routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from app.settings.schema.formats import parse_base_url, parse_claim_name, parse_issuer
from app.settings.schema.model import StrictModel
from app.settings.schema.values import EMPTY_SECRET, ClaimNames, FilePath, FilledText, List, Secret, Text


class ClaimsMapping(StrictModel):
    """Where this issuer's tokens hold roles and permissions."""

    roles: ClaimNames = ()
    """Claims that may hold roles."""
    permissions: ClaimNames = ()
    """Claims that may hold permissions."""


class IdpEntry(StrictModel):
    """One issuer of bearer tokens; chosen by issuer and audience."""

    stand_ins: ClassVar[Mapping[str, object]] = {
        "name": "stand-in",
        "issuer": "https://stand-in.invalid",
        "audience": "stand-in",
    }

    name: FilledText
    """The entry's name in logs."""
    provider: Annotated[Text, AfterValidator(parse_claim_name)] = ""
    """Alias in X-Original-User; empty: `name`."""
    issuer: Annotated[FilledText, AfterValidator(parse_issuer)]
    """The `iss` of its tokens."""
    audience: FilledText
    """The `aud` its tokens must have."""
    jwks_url: Annotated[Text, AfterValidator(parse_base_url)] = ""
    """Where its keys are; this or `introspection_url`."""
    introspection_url: Annotated[Text, AfterValidator(parse_base_url)] = ""
    """Where its tokens are looked up (RFC 7662); this or `jwks_url`."""
    client_id: Text = ""
    """For introspection."""
    client_secret: Secret = EMPTY_SECRET
    """For introspection; at least 16 characters."""
    client_secret_file: FilePath = ""
    """File that holds `client_secret`."""
    claims_mapping: ClaimsMapping = ClaimsMapping()
    """Where its tokens hold roles and permissions."""


class IdpsFile(StrictModel):
    """All of `idps.yaml`."""

    idps: Annotated[tuple[IdpEntry, ...], List] = ()
    """The issuers."""
