"""The schema of a file as JSON Schema (2020-12), for editors that check YAML while it is written."""

from __future__ import annotations

from typing import Any

from app.settings.schema.model import StrictModel

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TYPED = frozenset({"integer", "number", "boolean", "array"})


def build_json_schema(model: type[StrictModel], title: str) -> dict[str, Any]:
    """A value that is not text may also be written as `${VAR}`, which the loader fills before it looks at types."""
    schema = _adapt(model.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


def _adapt(node: Any) -> Any:
    if isinstance(node, list):
        return [_adapt(item) for item in node]
    if not isinstance(node, dict):
        return node
    adapted = {key: _adapt(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if "properties" in adapted:
        adapted["properties"] = {name: _allow_variable(value) for name, value in adapted["properties"].items()}
    return {_BOUNDS.get(key, key): value for key, value in adapted.items()}


def _allow_variable(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") not in _TYPED and "enum" not in schema:
        return schema
    inner = dict(schema)
    around: dict[str, Any] = {key: inner.pop(key) for key in ("description", "default") if key in inner}
    return {**around, "anyOf": [inner, _VARIABLE]}
