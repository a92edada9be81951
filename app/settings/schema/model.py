"""The base of every settings model: frozen, and refusing keys it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from app.settings.schema.values import read_untyped


class StrictModel(BaseModel):
    """A section of a settings file.

    `stand_ins` hold a harmless value for each required key. When such a key is missing or wrong, the loader notes the
    fault and goes on with the stand-in, so that one run reports everything else as well; it refuses to start anyway.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
    stand_ins: ClassVar[Mapping[str, object]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_section(cls, value: Any) -> Any:
        """A section with nothing in it (all its keys commented out) is a section of defaults."""
        shaped = read_untyped(value)
        return {} if shaped is None else shaped
