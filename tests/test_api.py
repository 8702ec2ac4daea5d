"""What `import phoenix_ray` gives: quickly, and with all that editors and type checkers show."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

import phoenix_ray
from phoenix_ray.cluster.extraction import Extraction
from phoenix_ray.config import Settings
from phoenix_ray.config_files import describe_settings, load_arguments
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError, SourceError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.setting_types import Location
from phoenix_ray.sources.sample import DEMO_VIDEOS

HEAVY = ("ray", "torch", "pyarrow", "numpy", "cv2", "pydantic", "rich", "IPython")


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, phoenix_ray; print(*(name.partition('.')[0] for name in sys.modules))").split()
    assert not set(HEAVY) & set(loaded)
    assert "phoenix_ray" in loaded


def test_estimate_needs_no_ray() -> None:
    program = (
        "import sys, numpy, phoenix_ray\n"
        "video = phoenix_ray.estimate(numpy.zeros((2, 9, 9, 3), numpy.uint8), model='synthetic')\n"
        "print(len(video), 'ray' in sys.modules)\n"
    )
    assert run_python(program) == "2 False\n"


def test_run_stays_the_module_of_the_job() -> None:
    program = "import phoenix_ray.run, types; print(isinstance(phoenix_ray.run, types.ModuleType))"
    assert run_python(program) == "True\n"


def test_completion_shows_what_a_user_calls() -> None:
    assert sorted(phoenix_ray.__all__) == ["estimate", "extract", "open"]
    assert set(phoenix_ray.__all__) <= set(dir(phoenix_ray))
    assert "annotations" not in dir(phoenix_ray)
    for name in phoenix_ray.__all__:
        assert getattr(phoenix_ray, name).__doc__


# The names that only type checkers import.
HINT_NAMES = {
    known.__name__: known
    for known in (Iterable, Mapping, Sequence, AbstractFileSystem, FileSystem, Extraction, Dataset)
} | {"Literal": Literal, "np": np, "NDArray": NDArray, "Location": Location, "VideoLandmarks": VideoLandmarks}


def test_arguments_have_the_types_of_their_settings() -> None:
    fields = {"mode", "engine", "complexity", "face_points"}
    for function in (phoenix_ray.extract, phoenix_ray.estimate):
        hints = get_type_hints(function, HINT_NAMES)
        for name in fields:
            choices = [choice for choice in get_args(hints[name]) if choice is not type(None)]
            expected = get_args(ModelSettings.model_fields[name].annotation)
            assert choices
            assert set(expected) == {value for choice in choices for value in get_args(choice) or (choice,)}


def test_defaults_of_estimate_are_those_of_a_run() -> None:
    parameters = inspect.signature(phoenix_ray.estimate).parameters
    for name in ("mode", "engine", "complexity", "face_points"):
        assert parameters[name].default == ModelSettings.model_fields[name].default
    assert parameters["model"].default == ModelSettings().name


def test_arguments_that_are_named_for_settings_exist() -> None:
    documented = inspect.getdoc(phoenix_ray.extract) or ""
    known = {key for key, *_ in describe_settings(Settings())}
    for name in inspect.signature(phoenix_ray.extract).parameters:
        if name in ("source", "output", "config", "settings", "progress"):
            continue
        key = documented.partition(f"\n    {name}: `")[2].partition("`")[0]
        assert key in known, name


def test_arguments_become_settings(tmp_path: Path) -> None:
    arguments = {"source.path": tmp_path, "output.path": "out", "model.name": None, "source.splits": "train, dev"}
    settings = load_arguments(arguments, {"cluster.shard_frames": 256, "model.weights_path": tmp_path}, "demo")
    assert settings.source.path == settings.model.weights_path == str(tmp_path)
    assert settings.source.kind == "sample"
    assert settings.source.splits == ("train", "dev")
    assert settings.model.name == "holistic"
    assert settings.cluster.shard_frames == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "statik"}, r"Setting 'model\.mode' in the call: Input should be 'static' or 'tracking'"),
        (
            {"settings": {"shard_frames": 1}},
            r"'shard_frames' is not a setting: write section\.key=value\. Did you mean",
        ),
        ({"settings": {"cluster.shards": 1}}, r"Unknown setting 'cluster\.shards' in the call"),
        ({"settings": {"source.path": "x"}}, r"'source\.path' is given twice"),
        ({"config": "demmo"}, r"There is no settings file demmo\. Did you mean 'demo'"),
        ({"config": "phoenix-gpu", "mode": 3}, r"Setting 'model\.mode' in .*phoenix-gpu\.yaml or in the call"),
    ],
)
def test_a_wrong_argument_is_named_in_the_words_of_a_call(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        phoenix_ray.extract(tmp_path, tmp_path / "output", **arguments)


def test_what_cannot_be_computed_raises_and_starts_no_ray(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No source is given: phoenix_ray\.extract"):
        phoenix_ray.extract(None, tmp_path / "output")
    with pytest.raises(ConfigError, match="No folder for the dataset"):
        phoenix_ray.extract(tmp_path, "")
    with pytest.raises(SourceError, match="There is no"):
        phoenix_ray.extract(tmp_path / "nothing", tmp_path / "output")
    (tmp_path / "videos").mkdir()
    with pytest.raises(SourceError, match="holds no"):
        phoenix_ray.extract(tmp_path / "videos", tmp_path / "output")


def test_an_output_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        phoenix_ray.extract(DEMO_VIDEOS, tmp_path)
