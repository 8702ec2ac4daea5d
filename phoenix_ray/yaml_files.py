"""YAML that people write, settings and manifests of networks: read safely, and what is wrong with it in a sentence.

`config_files` reads settings with it, `models.onnx.catalog` manifests.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any

import yaml

from phoenix_ray.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which only true and false are booleans, as in YAML 1.2; `decode.on` is a key and `no` a language."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class does not annotate it either
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)$"), list("tTfF"))


def parse_yaml(text: str, where: str) -> Any:
    """Return the values of a YAML text.

    Args:
        text: The text.
        where: Its file or place, for the message.

    Raises:
        ConfigError: It is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ConfigError(f"{where} cannot be read as YAML: it is nested too deeply.") from None
    # ValueError: text that looks like a date or a number but is not. TypeError: a mapping as a key.
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{where} cannot be read as YAML: {error}") from None


def reason_of(problem: Mapping[str, Any]) -> str:
    """Return why a value is refused, and the value, from one of pydantic's `ValidationError.errors()`."""
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{reason} (got {reprlib.repr(problem['input'])})."
