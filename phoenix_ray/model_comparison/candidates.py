"""The models to compare, as words of the command line name them: `holistic`, `FILE.yaml`, `name=…,complexity=2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from phoenix_ray.config_files import load
from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry

_MANIFESTS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model to compare.

    Attributes:
        label: What tables and pages call it: the user's words, with a manifest's path cut to its name.
        settings: Its settings, with every 'auto' decided.
    """

    label: str
    settings: ModelSettings


def parse_candidates(words: Sequence[str], settings: ModelSettings) -> list[ModelChoice]:
    """Return the models that words name.

    Args:
        words: Each a model's name, the path of a manifest, or settings of the section `model` as `key=value`, separated
            by commas; the first may be the name alone.
        settings: What all have in common.

    Raises:
        ConfigError: There is no such model or setting, or two words mean the same.
    """
    candidates = [_parse(word, settings) for word in words]
    for earlier, candidate in combinations(candidates, 2):
        if candidate.settings == earlier.settings or candidate.label == earlier.label:
            raise ConfigError(
                f"--model '{earlier.label}' and '{candidate.label}' are the same model with the same settings: leave "
                "one of them out."
            )
    return _with_short_labels(candidates)


def find_reference(label: str, candidates: Sequence[ModelChoice]) -> ModelChoice:
    """Return the model that --reference names, by its label or its settings' words.

    Raises:
        ConfigError: It is not among the models.
    """
    for candidate in candidates:
        if label in (candidate.label, candidate.settings.name) or _short(candidate, _label(label)) == candidate.label:
            return candidate
    labels = [candidate.label for candidate in candidates]
    raise ConfigError(
        f"--reference '{label}' is not among the models.{did_you_mean(label, labels)} Models: {', '.join(labels)}."
    )


def _with_short_labels(candidates: Sequence[ModelChoice]) -> list[ModelChoice]:
    """Return the models with a manifest's path cut to its name in their labels, where the labels stay unlike."""
    short = [_short(candidate, candidate.label) for candidate in candidates]
    return [
        replace(candidate, label=label) if short.count(label) == 1 else candidate
        for candidate, label in zip(candidates, short, strict=True)
    ]


def _short(candidate: ModelChoice, label: str) -> str:
    name = candidate.settings.name
    return label.replace(name, Path(name).stem) if name.endswith(_MANIFESTS) else label


def _parse(word: str, common: ModelSettings) -> ModelChoice:
    given: dict[str, object] = {f"model.{name}": value for name, value in common if name in common.model_fields_set}
    overrides = []
    for place, item in enumerate(_items(word)):
        key, separator, value = item.partition("=")
        if item and place == 0 and (not separator or "/" in key):
            given["model.name"] = item
        elif not separator or not key or not value:
            raise ConfigError(
                f"--model '{word}': '{item}' is not a setting. Write a model's name, the path of a manifest, or "
                "settings as 'name=holistic,complexity=2'."
            )
        else:
            given.pop(f"model.{key}", None)
            overrides.append(f"model.{key}={value}")
    settings = load(None, overrides, given, f"in --model '{word}'").model
    return ModelChoice(_label(word), registry.resolve_auto(settings, has_gpu=False))


def _items(word: str) -> list[str]:
    """Return the settings in a word; a path may hold commas and equals signs."""
    if word.endswith(_MANIFESTS) and not word.startswith("name="):
        return [word]
    return word.split(",")


def _label(word: str) -> str:
    return " ".join(item.strip() for item in _items(word)).removeprefix("name=")
