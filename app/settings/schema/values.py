"""The kinds of value a setting can have: strict about types, bounded, and forgiving only where the source has no types.

A value from the environment or from `${VAR}` is text whatever it means, so it travels as `UntypedText` and is read as
YAML only by a field that wants something other than text: `client_id: ${ID}` stays `012345`, `retry: ${RETRY}`
becomes a number. The message of every `ValueError` here is the "wanted" half of a fault; it never repeats the value.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, Strict

from app.settings.schema.formats import parse_claim_name
from app.settings.yaml_document import YamlSyntaxError, parse_yaml_text

DAY_SECONDS = 86_400
YEAR_SECONDS = 365 * DAY_SECONDS


class UntypedText(str):
    """Text that came from the environment or from `${VAR}`: the field it lands in decides what it is."""

    __slots__ = ()


def read_untyped(value: object) -> object:
    """Read `UntypedText` as YAML; anything else passes as it is."""
    if not isinstance(value, UntypedText):
        return value
    try:
        return parse_yaml_text(str(value))
    except YamlSyntaxError as error:
        raise ValueError("a value that can be read as YAML") from error


def _settle_text(value: object) -> object:
    return str(value) if isinstance(value, UntypedText) else value


def _list_to_tuple(value: object) -> object:
    shaped = read_untyped(value)
    return tuple(shaped) if isinstance(shaped, list) else shaped


PlainText = BeforeValidator(_settle_text)
"""Marks a field that is text or one of a few words."""

Text = Annotated[str, PlainText, Strict()]
FilledText = Annotated[str, Strict(), Field(min_length=1), PlainText]
Secret = Annotated[SecretStr, PlainText]
FilePath = Annotated[str, PlainText, Strict()]
"""Path of a file; relative to the folder the BFF is started in; empty: none."""

Flag = Annotated[bool, BeforeValidator(read_untyped), Strict()]
WholeNumber = Annotated[int, BeforeValidator(read_untyped), Strict()]
Number = Annotated[float, BeforeValidator(read_untyped), Strict(), Field(allow_inf_nan=False)]

Count = Annotated[WholeNumber, Ge(0)]
"""A whole number, 0 or more."""
Amount = Annotated[WholeNumber, Ge(1)]
"""A whole number, 1 or more."""
Timeout = Annotated[Number, Gt(0), Le(3600)]
"""Seconds to wait for something; never endless."""
WholeSeconds = Annotated[WholeNumber, Ge(1), Le(YEAR_SECONDS)]
Days = Annotated[WholeNumber, Ge(1), Le(3650)]

List = BeforeValidator(_list_to_tuple)
"""Marks a field that takes a YAML list and keeps it as a tuple."""

TextList = Annotated[tuple[FilledText, ...], List]
ClaimNames = Annotated[tuple[Annotated[FilledText, AfterValidator(parse_claim_name)], ...], List]

EMPTY_SECRET = SecretStr("")
