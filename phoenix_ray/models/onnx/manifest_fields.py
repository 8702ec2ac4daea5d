"""The fields of manifests: what each means, as a table for docs/manifests.md, and what is wrong with a value.

A field's path is written with points, `input.size`. Of a choice (decoders, `layout`) the path names the field alone.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from phoenix_ray.errors import did_you_mean
from phoenix_ray.models.onnx.manifest import DetectorManifest, HeadManifest, NetworkManifest, PoseManifest
from phoenix_ray.setting_types import Section
from phoenix_ray.yaml_files import reason_of

KINDS: dict[str, type[PoseManifest] | type[DetectorManifest] | type[HeadManifest]] = {
    "pose": PoseManifest,
    "detector": DetectorManifest,
    "head": HeadManifest,
}


class FieldRow(NamedTuple):
    """A field for a table.

    Attributes:
        path: Its path in the manifest.
        values: What it may be.
        default: Its default as YAML writes it, 'required' where it has none.
        meaning: Its description.
    """

    path: str
    values: str
    default: str
    meaning: str


def field_tables() -> dict[str, list[FieldRow]]:
    """Return the fields by heading: those of all manifests, then those of each kind and of each decoder."""
    common = set(NetworkManifest.model_fields)
    tables = {"All manifests": list(_rows(NetworkManifest, ""))}
    for kind, manifest in KINDS.items():
        tables[f"kind: {kind}"] = [row for row in _rows(manifest, "") if row.path.partition(".")[0] not in common]
        decoders = _sections(manifest.model_fields["decoder"].annotation)
        if len(decoders) > 1:
            for decoder in decoders:
                name = get_args(decoder.model_fields["kind"].annotation)[0]
                tables[f"decoder.kind: {name}"] = list(_rows(decoder, "decoder."))
    return tables


def tables_as_markdown() -> str:
    """Return the tables of docs/manifests.md."""
    lines = []
    for heading, rows in field_tables().items():
        lines += [f"### {heading}", "", "| field | values | default | meaning |", "|---|---|---|---|"]
        for row in rows:
            default = row.default if row.default in ("required", "") else f"`{row.default}`"
            values = row.values.replace("|", "\\|")
            lines.append(f"| `{row.path}` | {values} | {default} | {row.meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def problem_sentence(problem: Mapping[str, Any], kind: type[Section], tree: Mapping[str, Any]) -> str:
    """Return what is wrong, with the field, from one of pydantic's `ValidationError.errors()`."""
    path = _path(problem["loc"], tree)
    field = ".".join(map(str, path))
    match problem["type"]:
        case "missing":
            return f"{field} is missing."
        case "extra_forbidden":
            known = _fields_at(kind, path[:-1], tree)
            return f"there is no field {field}.{did_you_mean(str(path[-1]), known)} There are {', '.join(known)}."
        case "union_tag_not_found":
            return f"{field}.kind is missing."
        case "union_tag_invalid":
            return f"{field}.kind: there is no '{problem['ctx']['tag']}', only {problem['ctx']['expected_tags']}."
        case "string_pattern_mismatch":
            return f"{field}: {_PATTERNS.get(problem['ctx']['pattern'], problem['msg'])} (got {problem['input']!r})."
        case _:
            return f"{field}: {reason_of({**problem, 'msg': _in_yaml(problem['msg'])})}"


_PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]*$": "write small letters, digits, points, hyphens and underscores only, no slash",
    r"^[a-z][a-z0-9_]*$": "write small letters, digits and underscores only, a letter first",
    r"^([0-9a-f]{64})?$": "a sha256 has 64 hexadecimal digits in small letters",
}


def _in_yaml(message: str) -> str:
    """Return a message of pydantic in the words of YAML."""
    message = re.sub(r"dictionary or instance of \w+|dictionary", "mapping", message)
    return message.replace("Input should", "it should").replace("Tuple should", "it should").replace("tuple", "list")


def _path(location: tuple[int | str, ...], tree: Mapping[str, Any]) -> list[int | str]:
    """Return a location without what pydantic adds for the members of unions."""
    path: list[int | str] = []
    node: Any = tree
    for place, step in enumerate(location):
        inside = step in node if isinstance(node, dict) else isinstance(node, list) and isinstance(step, int)
        if inside:
            path.append(step)
            node = node[step] if isinstance(node, dict) or int(step) < len(node) else None
        elif isinstance(node, dict) and place == len(location) - 1:
            path.append(step)
    return path


def _fields_at(kind: type[Section], path: list[int | str], tree: Mapping[str, Any]) -> list[str]:
    """Return the fields that the section at a path may have."""
    section: type[Section] = kind
    node: Any = tree
    for step in path:
        node = node[step]
        if isinstance(step, int) or step not in section.model_fields:
            continue
        choices = _sections(section.model_fields[step].annotation)
        named = [choice for choice in choices if isinstance(node, dict) and _kind_of(choice) == node.get("kind")]
        section = (named or choices)[0]
    return list(section.model_fields)


def _kind_of(section: type[Section]) -> str | None:
    field = section.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None


def _sections(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def _rows(section: type[Section], prefix: str) -> Iterator[FieldRow]:
    for name, field in section.model_fields.items():
        path = f"{prefix}{name}"
        inner = _sections(field.annotation)
        if len(inner) == 1 and get_origin(field.annotation) is not dict:
            yield FieldRow(path, _values(field), _default(field), _meaning(field, inner[0]))
            several = "[]" if get_origin(field.annotation) is tuple else ""
            yield from _rows(inner[0], f"{path}{several}.")
        else:
            yield FieldRow(
                path, _values(field), _default(field), _meaning(field, inner[0] if len(inner) == 1 else None)
            )


def _meaning(field: FieldInfo, inner: type[Section] | None) -> str:
    text = field.description or (inner.__doc__ if inner else "What the outputs mean: one of the tables that follow.")
    return " ".join((text or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or field.default in (None, "", ()):
        return ""
    value = field.default
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()


_PLURALS = {"text": "texts", "whole number": "whole numbers", "number": "numbers"}


def _values(field: FieldInfo) -> str:
    limits = [_limit(item) for item in field.metadata]
    return " ".join([_type_name(field.annotation), *(limit for limit in limits if limit)])


def _limit(item: object) -> str:
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (bound := getattr(item, attribute, None)) is not None:
            return f"{sign} {bound}"
    return ""


def _type_name(annotation: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        named = dict.fromkeys(_type_name(part) for part in arguments if part is not type(None))
        return " or ".join(named)
    if origin is tuple:
        inner = _type_name(arguments[0])
        count = "" if Ellipsis in arguments else f"{len(arguments)} "
        return f"list of {count}{_PLURALS.get(inner, inner)}"
    if origin is dict:
        return f"name → {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "fields"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return names.get(annotation, str(annotation))
