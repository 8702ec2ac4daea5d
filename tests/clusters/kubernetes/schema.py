"""A check of objects against the OpenAPI schema of a custom resource, as a Kubernetes API server makes it.

Unknown fields are errors, as with `kubectl apply --validate=strict`. Rules in CEL and formats of texts are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "string": str,
}


def schemas(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the schema of each version that a CustomResourceDefinition serves."""
    versions = definition["spec"]["versions"]
    return {version["name"]: version["schema"]["openAPIV3Schema"] for version in versions if version["served"]}


def errors(value: Any, schema: dict[str, Any], where: str = "") -> Iterator[str]:
    """Yield what is wrong with a value: `spec/replicas: 'four' is not of type integer`."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str):
            yield f"{where}: {value!r} is neither a number nor a text"
        return
    kind = schema.get("type", "")
    is_number_for_bool = isinstance(value, bool) and kind != "boolean"
    if kind and (is_number_for_bool or not isinstance(value, _TYPES[kind])):
        yield f"{where}: {value!r} is not of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"
    if isinstance(value, int | float) and value < schema.get("minimum", value):
        yield f"{where}: {value!r} is less than {schema['minimum']}"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from errors(item, schema.get("items", {}), f"{where}/{index}")
    if isinstance(value, dict):
        yield from _errors_of_object(value, schema, where)


def _errors_of_object(value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        # A default fills the field before the check.
        if name not in value and "default" not in known.get(name, {}):
            yield f"{where}: the field {name} is missing"
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False) or not known
    for name, inner in value.items():
        if name in known:
            yield from errors(inner, known[name], f"{where}/{name}".lstrip("/"))
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from errors(inner, schema["additionalProperties"], f"{where}/{name}".lstrip("/"))
        elif not is_open:
            yield f"{where}: there is no field {name}"
