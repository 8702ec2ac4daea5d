from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.exports.mska import FRAME_SIZE, write_mska
from phoenix_ray.exports.whole_body import whole_body
from tests.exports.made_up import SELECTION, VIDEOS

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_it_loads_and_behaves_as_the_dataset_class_of_mska_expects(tmp_path: Path) -> None:
    write_mska(SELECTION, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["Phoenix-2014T.dev", "Phoenix-2014T.train"]
    with (tmp_path / "out" / "Phoenix-2014T.train").open("rb") as stream:
        samples = pickle.load(stream)
    assert list(samples) == ["train/01April_2010_Thursday_heute-6694", "train/b/ü.1"]
    sample = samples["train/01April_2010_Thursday_heute-6694"]
    assert sample["name"] == "train/01April_2010_Thursday_heute-6694"
    assert sample["gloss"] == "MORGEN __ON__ REGEN"
    assert sample["text"] == "morgen regnet es: 10°"
    assert sample["num_frames"] == 6
    assert sample["keypoint"].shape == (6, 133, 3)
    # What its __getitem__ does.
    assert sample["keypoint"].permute(2, 0, 1).to(torch.float32).shape == (3, 6, 133)
    assert np.array_equal(sample["keypoint"].numpy(), whole_body(VIDEOS[1], FRAME_SIZE))
