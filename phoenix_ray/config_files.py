"""Settings as text: YAML files and `section.key=value` words in, descriptions and docs/configuration.md out.

`load` merges, in this order: the defaults of `config.Settings`, a YAML file, words from the command line. The same
functions read and describe other trees of settings (`prepare.pipeline`).
"""

from __future__ import annotations

import inspect
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from phoenix_ray.config import Settings
from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.setting_types import IS_PATH, Location, Section
from phoenix_ray.yaml_files import parse_yaml, reason_of

Tree = TypeVar("Tree", bound=Section)

ON_THE_COMMAND_LINE = "on the command line"

# Parameters of MediaPipe that have another name here.
_OF_MEDIAPIPE = {
    "static_image_mode": "model.mode=static or model.mode=tracking",
    "model_complexity": "model.complexity",
    "refine_face_landmarks": "model.face_points=478",
}


def load(
    config: Path | None = None,
    overrides: Sequence[str] = (),
    given: Mapping[str, object] | None = None,
    place: str = ON_THE_COMMAND_LINE,
) -> Settings:
    """Return the settings of a run; see `load_tree`."""
    return load_tree(Settings, config, overrides, given, place)


def load_arguments(
    arguments: Mapping[str, object], settings: Mapping[str, object] | None, config: Location | None = None
) -> Settings:
    """Return the settings of a call from Python.

    Args:
        arguments: `section.key` → value of the argument that stands for it; None leaves the setting as it is.
        settings: `section.key` → value, of the argument `settings`.
        config: A YAML file, or the name of one that comes with the package.

    Raises:
        ConfigError: As `load_tree`; or a setting is given twice.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    for key, value in (settings or {}).items():
        if key in given:
            raise ConfigError(f"'{key}' is given twice, as an argument and in settings: leave one of them out.")
        if isinstance(value, Mapping):
            example = next((f"{key}.{name}" for name in value), f"{key}.NAME")
            raise ConfigError(f"settings['{key}'] holds a mapping: name each setting in full, as '{example}'.")
        given[key] = value
    plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}
    if isinstance(splits := plain.get("source.splits"), str):
        plain["source.splits"] = [split.strip() for split in splits.split(",")]
    return load(find_config(Path(os.fspath(config))) if config else None, (), plain, "in the call")


def load_tree(
    kind: type[Tree],
    config: Path | None,
    overrides: Sequence[str],
    given: Mapping[str, object] | None = None,
    place: str = ON_THE_COMMAND_LINE,
) -> Tree:
    """Return the settings of a YAML file with `section.key=value` overrides applied in order.

    Args:
        kind: The tree of settings: its fields are sections, whose fields are settings.
        config: The YAML file; None means defaults.
        overrides: Words of the form `section.key=value`, whose values are YAML.
        given: `section.key` → value, taken as it is; applied last.
        place: Where `overrides` and `given` come from, for messages.

    Raises:
        ConfigError: The file is missing or not a YAML mapping, a key is unknown, a value has the wrong type, or a path
            names an environment variable that is not set.
    """
    tree: dict[str, Any] = _read_yaml(kind, config) if config else {}
    also = f" or {place}" if overrides or given else ""
    where = f"in {config}{also}" if config else place
    for word in overrides:
        key, separator, text = word.partition("=")
        if not separator:
            raise ConfigError(f"'{word}' is not a setting: write section.key=value.")
        value = parse_yaml(text, f"'{reprlib.repr(word)}'") if text else ""
        _assign(kind, tree, key, _expand(kind, key, value, place), word)
    for key, value in (given or {}).items():
        _assign(kind, tree, key, value, key)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, problem, where) for problem in error.errors())) from None


def find_config(path: Path) -> Path:
    """Return `path` if it is a file, else the file of this name that comes with the package (`phoenix`, `demo.yaml`).

    Raises:
        ConfigError: Neither exists.
    """
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(shipped_configs().glob("*.yaml"))}
    if path.parent == Path() and path.suffix in ("", ".yaml") and path.stem in shipped:
        return shipped[path.stem]
    raise ConfigError(
        f"There is no settings file {path}.{did_you_mean(path.stem, shipped)} "
        f"The package comes with: {', '.join(shipped)}."
    )


def shipped_configs() -> Path:
    """Return the folder of example settings: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def with_absolute_paths(settings: Settings) -> Settings:
    """Return settings whose paths mean the same places in workers, which run in other folders."""
    output, model = settings.output, settings.model
    places = {
        "weights_path": _absolute(model.weights_path),
        "name": _absolute_manifest(model.name),
        "detector": _absolute_manifest(model.detector),
        "heads": tuple(map(_absolute_manifest, model.heads)),
    }
    return settings.model_copy(
        update={
            "output": output.model_copy(update={"path": _absolute(output.path)}),
            "model": model.model_copy(update=places),
        }
    )


def _absolute_manifest(name: str) -> str:
    """Return the absolute path of a manifest; a model's name as it is."""
    return _absolute(name) if name.endswith((".yaml", ".yml")) else name


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path and "://" not in path else path


def describe_settings(settings: Section) -> Iterator[tuple[str, object, object, str]]:
    """Yield (key, value, default, description) for every setting, in the order of the tree."""
    defaults = type(settings)()
    for section_name in type(settings).model_fields:
        section, default = getattr(settings, section_name), getattr(defaults, section_name)
        for name, field in type(section).model_fields.items():
            yield f"{section_name}.{name}", getattr(section, name), getattr(default, name), field.description or ""


def to_markdown(settings: Settings) -> str:
    """Return the settings as a page with a table for each section."""
    lines = [
        "# Configuration",
        "",
        "All settings and their defaults. Set them in a YAML file (`--config`) or as `section.key=value` words.",
        "`phoenix-ray config --markdown` writes this page.",
        "",
        inspect.cleandoc(type(settings).__doc__ or "").partition("\n\n")[2],
    ]
    section = ""
    for key, value, _, text in describe_settings(settings):
        name = key.partition(".")[0]
        if name != section:
            section = name
            summary = getattr(settings, section).__doc__
            lines += ["", f"## {section}", "", summary, "", "| setting | default | meaning |", "|---|---|---|"]
        lines.append(f"| `{key}` | `{format_value(value)}` | {text} |")
    return "\n".join(lines) + "\n"


def format_value(value: object) -> str:
    """Return a value as YAML writes it."""
    match value:
        case None:
            return "none"
        case "":
            return "''"
        case tuple():
            return f"[{', '.join(map(str, value))}]"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _read_yaml(kind: type[Section], path: Path) -> dict[str, Any]:
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"There is no settings file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    if tree is None:
        return {}
    sections = ", ".join(kind.model_fields)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold sections ({sections}) of settings.")
    for name, part in tree.items():
        if not isinstance(part, dict | None):
            known = [key for key in _all_keys(kind) if key.endswith(f".{name}")]
            there = f" Did you mean {' or '.join(known)}?" if known else did_you_mean(str(name), kind.model_fields)
            raise ConfigError(
                f"{path}: {reprlib.repr(name)} at the top level is not a section of settings.{there} "
                f"The sections are: {sections}."
            )
    return {
        str(section): {
            name: _expand(kind, f"{section}.{name}", value, f"in {path}") for name, value in (part or {}).items()
        }
        for section, part in tree.items()
    }


# `$$` is a dollar sign; a `$` that no name follows stays as it is.
_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[^}]*)\})")


def _expand(kind: type[Section], key: str, value: object, where: str) -> object:
    """Return a value with `$NAME`, `${NAME}` and a leading `~` expanded if the setting holds a path.

    Raises:
        ConfigError: A variable is not set.
    """
    section, _, name = key.partition(".")
    sections = kind.model_fields.get(section)
    fields = getattr(sections.annotation, "model_fields", {}) if sections else {}
    if not isinstance(value, str) or name not in fields or IS_PATH not in fields[name].metadata:
        return value

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        variable = match["bare"] or match["braced"] or ""
        if variable not in os.environ:
            raise ConfigError(
                f"Setting '{key}' {where}: the environment variable {match[0]} in {value!r} is not set."
                f"{did_you_mean(variable, os.environ)} Set it, or write $$ for a dollar sign."
            )
        return os.environ[variable]

    expanded = _VARIABLE.sub(replacement, value)
    if expanded.startswith("~"):
        # If there is no such user, opening the path says so.
        with suppress(RuntimeError):
            return str(Path(expanded).expanduser())
    return expanded


def _assign(kind: type[Section], tree: dict[str, Any], key: str, value: object, word: str) -> None:
    section, dot, name = key.partition(".")
    if not dot or not section or not name:
        raise ConfigError(f"'{word}' is not a setting: write section.key=value.{did_you_mean(key, _all_keys(kind))}")
    tree.setdefault(section, {})[name] = value


def _explain(kind: type[Section], problem: Mapping[str, Any], where: str) -> str:
    key = ".".join(str(part) for part in problem["loc"][:2])
    if problem["type"] == "extra_forbidden":
        known = _all_keys(kind) if "." in key else list(kind.model_fields)
        in_our_words = _OF_MEDIAPIPE.get(key.rpartition(".")[2])
        hint = f" Here it is {in_our_words}." if in_our_words else did_you_mean(key, known)
        return f"Unknown setting '{key}' {where}.{hint}"
    return f"Setting '{key}' {where}: {reason_of(problem)}"


def _all_keys(kind: type[Section]) -> list[str]:
    return [key for key, *_ in describe_settings(kind())]
