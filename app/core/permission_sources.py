"""Where a mapping takes the resource's id and properties from: the path, the query, the JSON body.

{name}, {path}   what the path caught, percent-decoded once; may stand in a longer text
?name            a query parameter
$.a.b[0]         a value of the JSON body (RFC 9535, a query for one place)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import msgspec
from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.selectors import IndexSelector, NameSelector

from app.core.errors import BadRequestError
from app.core.permissions import ANY_ID, Permission, Resource
from app.core.routes import PermissionMapping

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LARGEST_NUMBER = 2**53 - 1
"""Readers of JSON agree on whole numbers up to here (RFC 8259 §6)."""
_LONGEST_TEXT = 4096
_MOST_ITEMS = 100

_environment = JSONPathEnvironment(strict=True)


class CallValues(msgspec.Struct, frozen=True):
    """What a call holds. `params` and `query` are raw; `body` is parsed, None when there is none."""

    params: Mapping[str, str]
    query: str | None
    body: object


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """Text with `{name}`s."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    def find(self, values: CallValues) -> object:
        if self.literals == ("", ""):  # as a rule: one name alone
            return _decode(values.params[self.names[0]])
        text = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            text += (_decode(values.params[name]), literal)
        return "".join(text)


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """`?name`. Backends differ in which of two they take, so a parameter may be given once only."""

    name: str

    def find(self, values: CallValues) -> object:
        query = values.query or ""
        if ";" in query:
            raise BadRequestError("The query holds a bare ; which some readers take for &. Write it as %3B.")
        found = []
        for pair in query.split("&"):
            raw_name, _, value = pair.partition("=")
            name = _decode(raw_name.replace("+", " "))
            if name == self.name:
                found.append(_decode(value.replace("+", " ")))
            elif name.casefold() == self.name.casefold():
                raise BadRequestError(f"The query names {self.name} in another spelling.")
        if len(found) > 1:
            raise BadRequestError(f"The query names {self.name} twice.")
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class BodyField:
    """`$.field`."""

    query: JSONPath
    steps: tuple[str | int, ...]
    """The same as names and indexes."""

    def find(self, values: CallValues) -> object:
        if not isinstance(values.body, dict | list):
            return None
        _check_spelling(values.body, self.steps)
        found = self.query.findall(values.body)
        return check_value(found[0], str(self.query)) if found else None


Source = PathTemplate | QueryParameter | BodyField


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """One entry of `authz_map` or `endpoint_map`, ready for calls."""

    resource_type: str
    action: str
    id_source: Source | None
    property_sources: tuple[tuple[str, Source], ...]
    needs_body: bool

    def resolve(self, values: CallValues) -> Permission:
        """Raises `BadRequestError`. A property that the call does not have is left out."""
        properties = {}
        for name, source in self.property_sources:
            value = source.find(values)
            if value is not None:
                properties[name] = value
        return Permission(self.action, Resource(self.resource_type, self._find_id(values), properties))

    def _find_id(self, values: CallValues) -> str:
        if self.id_source is None:
            return ANY_ID
        value = self.id_source.find(values)
        if isinstance(self.id_source, PathTemplate) and value == "":
            return ANY_ID  # `/forms/*` called as `/forms`: about no single one
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or value in ("", ANY_ID):
            raise BadRequestError("The call does not say which resource it is about.")
        return value


def compile_mapping(mapping: PermissionMapping) -> CompiledMapping:
    """Raises ValueError with a sentence for a source that is none."""
    id_source = parse_source(mapping.id_from) if mapping.id_from else None
    properties = tuple((name, parse_source(text)) for name, text in mapping.props.items())
    sources = (id_source, *(source for _, source in properties))
    return CompiledMapping(
        resource_type=mapping.resource,
        action=mapping.action,
        id_source=id_source,
        property_sources=properties,
        needs_body=any(isinstance(source, BodyField) for source in sources),
    )


def parse_source(text: str) -> Source:
    """Raises ValueError with a sentence."""
    if text.startswith("$"):
        return _parse_body_field(text)
    if text.startswith("?"):
        if len(text) == 1:
            raise ValueError("? is followed by the name of a query parameter")
        return QueryParameter(text[1:])
    pieces = _PLACEHOLDER.split(text)
    if len(pieces) == 1:
        raise ValueError("a source is {name} from the path, ?name from the query or $.field from the JSON body")
    literals = tuple(pieces[0::2])
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError("a brace stands only around a name: {name}")
    if "" in literals[1:-1]:
        raise ValueError("between two names there must be something that keeps them apart")
    return PathTemplate(literals, tuple(pieces[1::2]))


def _parse_body_field(text: str) -> BodyField:
    try:
        query = _environment.compile(text)
    except JSONPathError as error:
        raise ValueError(f"no JSONPath (RFC 9535): {str(error).splitlines()[0]}") from error
    if not isinstance(query, JSONPath) or not query.singular_query():
        raise ValueError("a JSONPath here leads to one place: names and indexes only, as in $.a.b[0]")
    selectors = [segment.selectors[0] for segment in query.segments]
    steps = tuple(
        each.name if isinstance(each, NameSelector) else each.index
        for each in selectors
        if isinstance(each, NameSelector | IndexSelector)
    )
    return BodyField(query, steps)


def _check_spelling(document: object, steps: Iterable[str | int]) -> None:
    """Some readers of JSON do not tell capitals from small letters: they would find another value than we, or one where
    we find none."""
    for step in steps:
        if isinstance(document, dict) and isinstance(step, str):
            folded = step.casefold()
            if any(name != step and name.casefold() == folded for name in document):
                raise BadRequestError(f"The body names {step} in another spelling.")
            document = document.get(step)
        elif isinstance(document, list) and isinstance(step, int) and -len(document) <= step < len(document):
            document = document[step]
        else:
            return


def check_value(value: object, source: str) -> object:
    """What may be told: text, numbers, truth values, null, and lists of these. Anything else could be read anyhow."""
    if isinstance(value, list):
        if len(value) > _MOST_ITEMS:
            raise BadRequestError(f"The list at {source} is too long.")
        return [_check_single(item, source) for item in value]
    return _check_single(value, source)


def _check_single(value: object, source: str) -> object:
    if isinstance(value, dict | list):
        raise BadRequestError(f"The value at {source} must not hold objects or lists of lists.")
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        raise BadRequestError(f"The text at {source} is too long.")
    if isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
        raise BadRequestError(f"The number at {source} is larger than JSON readers agree on.")
    return value


def _decode(raw: str) -> str:
    if "%" not in raw and raw.isascii():
        return raw  # nearly always, and on the way of every call
    try:
        return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError("The address is not UTF-8 once decoded.") from error
