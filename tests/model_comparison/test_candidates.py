from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.errors import ConfigError
from phoenix_ray.model_comparison.candidates import find_reference, parse_candidates
from phoenix_ray.model_settings import ModelSettings

COMMON = ModelSettings()


def test_a_word_is_a_name_or_settings() -> None:
    candidates = parse_candidates(
        ["holistic", "blazepose", "name=holistic,complexity=2", "holistic,face_points=478"], COMMON
    )
    assert [candidate.label for candidate in candidates] == [
        "holistic",
        "blazepose",
        "holistic complexity=2",
        "holistic face_points=478",
    ]
    assert [candidate.settings.complexity for candidate in candidates] == [1, 1, 2, 1]
    assert [candidate.settings.face_points for candidate in candidates] == [468, 468, 468, 478]
    assert {candidate.settings.engine for candidate in candidates} == {"litert"}


def test_common_settings_hold_where_a_word_says_nothing_else() -> None:
    common = ModelSettings(threads=2, complexity=0)
    first, second = parse_candidates(["holistic", "holistic,complexity=2"], common)
    assert (first.settings.threads, first.settings.complexity) == (2, 0)
    assert (second.settings.threads, second.settings.complexity) == (2, 2)


def test_a_path_may_hold_commas_and_equals_signs(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.models.onnx.made_up import rtmw_like

    folder = tmp_path / "a,b=c"
    folder.mkdir()
    path = str(rtmw_like(folder))
    (candidate,) = parse_candidates([path], COMMON)
    assert candidate.settings.name == path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["holistik"], "Did you mean 'holistic'"),
        (["holistic,complxity=2"], "Unknown setting 'model.complxity'"),
        (["holistic,complexity=7"], "model.complexity"),
        (["holistic,fast"], "'fast' is not a setting"),
        (["holistic,"], "'' is not a setting"),
        ([""], "'' is not a setting"),
        (["holistic,engine=onnx"], "has no engine 'onnx'"),
        (["holistic", "holistic"], "the same model with the same settings"),
        (["holistic", "name=holistic,complexity=1"], "the same model with the same settings"),
        (["none.yaml"], r"none\.yaml"),
    ],
)
def test_words_that_are_not_right_are_errors(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_candidates(words, COMMON)


def test_the_reference_is_one_of_the_models() -> None:
    candidates = parse_candidates(["blazepose", "name=holistic,complexity=2"], COMMON)
    assert find_reference("blazepose", candidates) is candidates[0]
    for word in ("holistic", "holistic complexity=2", "name=holistic,complexity=2"):
        assert find_reference(word, candidates) is candidates[1]
    with pytest.raises(ConfigError, match=r"'blazepos' is not among the models\. Did you mean 'blazepose'"):
        find_reference("blazepos", candidates)


def test_the_path_of_a_manifest_is_cut_to_its_name_where_the_names_are_unlike(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.models.onnx.made_up import rtmw_like

    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (str(rtmw_like(folder)) for folder in folders)
    candidates = parse_candidates([first, second, "synthetic"], ModelSettings())
    assert [candidate.label for candidate in candidates] == [first, second, "synthetic"]
    candidates = parse_candidates([f"name={first},box=blazepose", "synthetic"], ModelSettings())
    assert [candidate.label for candidate in candidates] == ["rtmw box=blazepose", "synthetic"]
    for words in ("rtmw box=blazepose", first, f"name={first},box=blazepose"):
        assert find_reference(words, candidates) is candidates[0]
