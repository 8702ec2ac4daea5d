from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from phoenix_ray.config_files import load
from phoenix_ray.errors import ConfigError, ModelError, SourceError
from phoenix_ray.model_comparison.as_json import comparison_json
from phoenix_ray.model_comparison.candidates import find_reference, parse_candidates
from phoenix_ray.model_comparison.comparison import ModelComparison, SampleSize, compare_models
from phoenix_ray.model_comparison.page import choose_frames, comparison_page
from phoenix_ray.model_comparison.tables import comparison_tables, print_comparison
from tests.model_comparison.made_up import made_up_models, write_source

NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with made_up_models():
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


def compare(
    source: Path,
    words: Sequence[str],
    frames: int = 24,
    labels: Path | None = None,
    reference: str = "",
) -> ModelComparison:
    settings = load(None, (), {"source.path": str(source)})
    candidates = parse_candidates(words, settings.model)
    return compare_models(
        settings,
        candidates,
        SampleSize(frames),
        () if labels is None else (labels,),
        find_reference(reference, candidates) if reference else None,
        lambda line: None,
        lambda done, total, remark="": None,
    )


def write_labels(folder: Path, comparison: ModelComparison, shift: float = 0, without: int = 0) -> Path:
    """Labels at the points of a comparison's first model, in pixels, moved to the right; and some that fit no frame."""
    from phoenix_ray.model_comparison.findings_of_model import points_133

    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for run in comparison.models[0].result.runs:
        points = points_133(run)
        for row, index in enumerate(run.frame_index.tolist()):
            number = len(images)
            images.append({"id": number, "file_name": f"train/{run.video_id}/images{index + 1:04}.png"})
            there = ~np.isnan(points[row, :17]).any(axis=1)
            marked = np.column_stack([np.nan_to_num(points[row, :17]) + np.array([shift, 0]), 2.0 * there])
            if there.any():
                annotations.append(
                    {"id": number, "image_id": number, "area": 900.0, "keypoints": marked.ravel().tolist()}
                )
    images += [{"id": 1000 + number, "file_name": f"elsewhere/{number}.png"} for number in range(without)]
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def test_models_of_a_known_difference_lie_that_far_apart(source: Path) -> None:
    comparison = compare(source, ["synthetic", "shifted"])
    (pair,) = comparison.pairs
    assert {part.name for part in pair.parts} == {"pose", "upper_body", "left_hand", "right_hand", "face"}
    for part in pair.parts:
        assert (part.only_first, part.only_second) == (0, 0)
        assert part.median_px == pytest.approx(5, abs=1e-3)
        assert part.p95_px == pytest.approx(5, abs=1e-3)
    first, second = (model.findings for model in comparison.models)
    assert first.parts["face"].rate == second.parts["face"].rate
    assert first.parts["pose"].jitter == pytest.approx(second.parts["pose"].jitter, rel=1e-3)


def test_the_same_command_compares_the_same_frames(source: Path) -> None:
    some, again = (comparison_json(compare(source, ["synthetic", "shifted"])) for _ in range(2))
    assert some["sample"] == again["sample"]
    assert some["pairs"] == again["pairs"]
    assert [model["parts"] for model in some["models"]] == [model["parts"] for model in again["models"]]
    assert sum(run["frames"] for run in some["sample"]["runs"]) == 24
    assert [run["video_id"] for run in some["sample"]["runs"]] == ["clip-0", "clip-1", "clip-2"]


def test_models_that_cannot_be_run_are_left_out_with_the_reason(source: Path) -> None:
    comparison = compare(source, ["absent", "synthetic", "failing", "shifted"])
    assert [model.label for model in comparison.models] == ["synthetic", "shifted"]
    assert [model.reason for model in comparison.failed] == [
        "absent: absent.onnx cannot be read: add it with `phoenix-ray models add`.",
        "failing: RuntimeError: out of luck",
    ]
    assert len(comparison.pairs) == 1


def test_without_any_model_there_is_no_comparison(source: Path) -> None:
    with pytest.raises(ModelError, match=r"No model could be run\. absent: .*models add.* failing: .*out of luck"):
        compare(source, ["absent", "failing"])


def test_a_reference_is_compared_with_each_other(source: Path) -> None:
    words = ["synthetic", "shifted", "synthetic,mode=tracking"]
    assert len(compare(source, words).pairs) == 3
    pairs = compare(source, words, reference="shifted").pairs
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("shifted", "synthetic"),
        ("shifted", "synthetic mode=tracking"),
    ]


def test_labels_judge_each_model(source: Path, tmp_path: Path) -> None:
    plain = compare(source, ["synthetic", "shifted"])
    comparison = compare(source, ["synthetic", "shifted"], labels=write_labels(tmp_path, plain, shift=3, without=2))
    use = comparison.labels
    assert use is not None
    found = plain.models[0].findings.people
    assert (use.used, use.without_person, use.unlabelled, use.outside) == (found, 24 - found, 0, 0)
    assert (use.without_frame, use.ambiguous, use.unreadable) == (2, 0, 0)
    first, second = (model.scores for model in comparison.models)
    assert list(first) == ["pose", "whole_body"]
    # Labels lie 3 px beside the one, and 4 px above the other.
    assert first["pose"].oks is not None
    assert second["pose"].oks is not None
    assert first["pose"].oks > second["pose"].oks
    assert first["pose"].frames == second["pose"].frames == found
    assert first["pose"].not_found == 0


def test_labels_choose_the_frames_and_those_beyond_are_counted(source: Path, tmp_path: Path) -> None:
    images = [{"id": index, "file_name": f"clip-1/images{index:04}.png"} for index in (1, 2, 3, 12)]
    people = [{"id": 1, "image_id": index, "keypoints": [9.0, 9.0, 2.0] * 17} for index in (1, 2)]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": people}))
    comparison = compare(source, ["synthetic"], frames=4, labels=labels)
    ((run),) = comparison.runs
    assert (run.video.video_id, [frame.index for frame in run.frames]) == ("clip-1", [0, 1, 2, 3])
    use = comparison.labels
    assert use is not None
    assert (use.used, use.without_person, use.unlabelled, use.outside) == (2, 1, 1, 1)


def test_labels_of_another_size_are_scaled(source: Path, tmp_path: Path) -> None:
    plain = compare(source, ["synthetic"])
    file = write_labels(tmp_path, plain)
    tree = json.loads(file.read_text())
    for image in tree["images"]:
        image |= {"width": 96, "height": 128}
    for annotation in tree["annotations"]:
        annotation["keypoints"] = (np.array(annotation["keypoints"]).reshape(-1, 3) * (2, 2, 1)).ravel().tolist()
    file.write_text(json.dumps(tree))
    scores = compare(source, ["synthetic"], labels=file).models[0].scores["pose"]
    assert scores.oks == pytest.approx(1, abs=1e-6)


def test_labels_that_mean_no_frame_are_an_error(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "a/b.png"}], "annotations": []}))
    with pytest.raises(ConfigError, match=r"None of the 1 images .* \(such as 'a/b.png'\) is a frame of the source"):
        compare(source, ["synthetic"], labels=file)


def test_a_source_without_readable_frames_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "a.png").write_bytes(b"no picture")
    with pytest.raises(SourceError):
        compare(tmp_path, ["synthetic"])


def test_unreadable_frames_are_counted(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", videos=1, frames=6)
    (source / "train" / "clip-0" / "images0003.png").write_bytes(b"damaged")
    comparison = compare(source, ["synthetic", "shifted"], frames=6)
    assert all(model.findings.readable == 5 for model in comparison.models)
    assert {part.frames for part in comparison.pairs[0].parts} == {5}
    assert comparison_json(comparison)["sample"]["runs"][0]["unreadable"] == 1
    assert "1 frame cannot be read" in shown(comparison)


def test_one_frame_is_enough(source: Path) -> None:
    comparison = compare(source, ["synthetic", "shifted"], frames=1)
    assert comparison.frames == 1
    assert comparison.models[0].findings.parts["pose"].jitter is None
    assert json.loads(json.dumps(comparison_json(comparison), allow_nan=False))["format"] == 1
    assert comparison_page(comparison, NOW)


def test_onnx_networks_of_unlike_layouts_are_compared(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.models.onnx.made_up import rtmw_like, simcc_network, write_manifest

    simcc_network(tmp_path / "body.onnx", points=17, size=(192, 256))
    body = write_manifest(
        tmp_path / "body.yaml",
        tmp_path / "body.onnx",
        layout="coco-17",
        input={"size": [192, 256], "std": [255], "resize": "affine"},
        decoder={"kind": "simcc"},
    )
    comparison = compare(source, [str(rtmw_like(tmp_path)), str(body), "synthetic"], frames=6)
    assert [[part.name for part in pair.parts] for pair in comparison.pairs] == [
        ["pose", "upper_body"],
        ["pose", "upper_body", "feet", "face", "left_hand", "right_hand"],
        ["pose", "upper_body"],
    ]
    assert comparison.pairs[0].parts[0].distances > 0
    assert comparison_page(comparison, NOW)


def test_networks_whose_file_is_absent_are_left_out(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.models.onnx.made_up import rtmw_like

    manifest = rtmw_like(tmp_path)
    (tmp_path / "rtmw.onnx").unlink()
    comparison = compare(source, [str(manifest), "synthetic"], frames=4)
    (failed,) = comparison.failed
    assert "rtmw.onnx" in failed.reason


def shown(comparison: ModelComparison) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    print_comparison(console, comparison)
    return console.export_text()


def test_tables_show_every_model_part_and_pair(source: Path, tmp_path: Path) -> None:
    plain = compare(source, ["synthetic", "shifted"])
    comparison = compare(source, ["synthetic", "shifted", "absent"], labels=write_labels(tmp_path, plain))
    text = shown(comparison)
    for words in ("Models", "What is found", "How far models lie apart", "How near the labels", "Left out: absent"):
        assert words in text
    rows = [line.split() for line in text.splitlines()]
    assert next(row[0:5] for row in rows if row[:1] == ["pose"] and row[2:3] == ["shifted"]) == [
        *("pose", "synthetic", "shifted", "33"),
        f"{comparison.models[0].findings.people}",
    ]
    for table in comparison_tables(comparison):
        assert all(len(row) == len(table.headings) for row in table.rows)


def test_a_pair_without_a_common_point_is_said(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.models.onnx.made_up import simcc_network, write_manifest

    simcc_network(tmp_path / "bird.onnx", points=2, size=(64, 64))
    bird = write_manifest(
        tmp_path / "bird.yaml",
        tmp_path / "bird.onnx",
        layout={"name": "bird", "parts": [{"name": "wings", "points": ["left", "right"]}]},
        input={"size": [64, 64], "std": [255], "resize": "affine"},
        decoder={"kind": "simcc"},
    )
    comparison = compare(source, [str(bird), "synthetic"], frames=4)
    assert "bird and synthetic share no point" in shown(comparison)
    assert "wings" in shown(comparison)


def test_the_page_holds_the_same_frames_for_each_model(source: Path) -> None:
    comparison = compare(source, ["synthetic", "shifted"])
    frames = choose_frames(comparison)
    page = comparison_page(comparison, NOW)
    assert page.count("data:image/jpeg;base64,") == 2 * len(frames)
    assert len({(frame.run, frame.row) for frame in frames}) == len(frames) >= 4
    assert "script" not in page.partition("<body>")[2].replace("runs no script", "")
    assert 'content="light dark"' in page
    assert "http://" not in page
    assert "https://" not in page


def test_frames_of_each_run_are_shown_before_a_second_of_one(source: Path) -> None:
    comparison = compare(source, ["synthetic", "shifted,batch_size=2"])
    (pair,) = comparison.pairs
    pair.apart[:] = np.arange(24) + 1.0
    frames = [(frame.run, frame.row) for frame in choose_frames(comparison) if frame.why == "farthest apart"]
    assert frames == [(0, 7), (1, 7), (2, 6), (2, 7)]


def test_names_in_the_page_are_never_markup(tmp_path: Path) -> None:
    from tests.sources.made_up import write_frames

    write_frames(tmp_path / "<b>x" / "<img src=y>", 2)
    comparison = compare(tmp_path, ["synthetic"], frames=2)
    page = comparison_page(comparison, NOW)
    assert "<img src=y>" not in page
    assert "&lt;img src=y&gt;" in page


def test_large_frames_are_shown_small(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    assert cv2.imwrite(str(folder / "a.png"), np.zeros((1080, 1920, 3), np.uint8))
    page = comparison_page(compare(tmp_path, ["synthetic"], frames=1), NOW)
    assert len(page) < 100_000
