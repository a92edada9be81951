"""Reads a JSON body so that nobody behind us can read it differently: what parsers disagree about is refused."""

from __future__ import annotations

import json
import re
from math import isinf
from typing import NoReturn

from app.core.errors import BadRequestError

MAX_JSON_BODY_BYTES = 1_048_576
_DEEPEST_NESTING = 64
_JSON_TYPE = re.compile(r"application/(?:json|[^/\s]+\+json)")


def check_json_headers(content_type: str | None, content_encoding: str | None) -> None:
    """Raises `BadRequestError` unless the body is said to be JSON, in UTF-8 and not compressed."""
    if content_encoding is not None and content_encoding.strip().lower() not in ("", "identity"):
        raise BadRequestError("The body of this call is read for its permission, so it must not be compressed.")
    media_type, _, parameters = (content_type or "").partition(";")
    if not _JSON_TYPE.fullmatch(media_type.strip().lower()):
        raise BadRequestError("The body of this call must be JSON, and Content-Type must say so.")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise BadRequestError("The body of this call must be JSON in UTF-8, without further parameters.")


def parse_json_body(content: bytes) -> object:
    """Returns the value of a JSON text (RFC 8259).

    Raises `BadRequestError` for what is none, and for names given twice, numbers that are none in JSON (NaN), text that
    is no Unicode, and more than 64 levels.
    """
    try:
        value: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_build_object,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except UnicodeDecodeError as error:
        raise BadRequestError("The body is not UTF-8.") from error
    except RecursionError as error:
        raise BadRequestError("The body is nested too deeply.") from error
    except ValueError as error:
        raise BadRequestError("The body is not JSON.") from error
    _check(value, _DEEPEST_NESTING)
    return value


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise BadRequestError("The body names a member twice.")
    return built


def _refuse_constant(constant: str) -> NoReturn:
    raise BadRequestError(f"The body holds {constant}, which is not JSON.")


def _parse_float(literal: str) -> float:
    value = float(literal)
    if isinf(value):
        raise BadRequestError("The body holds a number that is too large.")
    return value


def _check(value: object, levels_left: int) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequestError("The body holds half a surrogate pair, which is no character.")
    elif isinstance(value, dict | list):
        if not levels_left:
            raise BadRequestError("The body is nested too deeply.")
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _check(item, levels_left - 1)
