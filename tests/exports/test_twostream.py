"""What `SignLanguageDataset` of https://github.com/FangyunWei/SLRT (TwoStreamNetwork/dataset/Dataset.py) reads.

A split is a gzipped pickle of a list of dictionaries with `name`, `gloss`, `text`, `num_frames`. The points of all
splits are a pickle of their own that maps each name to {"keypoints": array}; columns are picked from it by the indices
of COCO-WholeBody and concatenated by numpy.
"""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.exports.phoenix_keypoints import FRAME_SIZE
from phoenix_ray.exports.twostream import write_twostream
from phoenix_ray.exports.whole_body import whole_body
from tests.exports.made_up import SELECTION, VIDEOS
from tests.exports.peers import ask, peer


def test_annotations_are_a_list_per_split_and_points_a_file_of_all(tmp_path: Path) -> None:
    write_twostream(SELECTION, tmp_path / "out")
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"phoenix-2014t.dev", "phoenix-2014t.train", "phoenix-2014t-keypoints.pkl"}
    with gzip.open(tmp_path / "out" / "phoenix-2014t.train") as stream:
        train = pickle.load(stream)
    assert train[0] == {
        "name": "train/01April_2010_Thursday_heute-6694",
        "signer": "Signer04",
        "gloss": "MORGEN __ON__ REGEN",
        "text": "morgen regnet es: 10° .",
        "num_frames": 6,
    }
    points = pickle.loads((tmp_path / "out" / "phoenix-2014t-keypoints.pkl").read_bytes())
    assert list(points) == [f"{video.split}/{video.video_id}" for video in VIDEOS]
    for video, entry in zip(VIDEOS, points.values(), strict=True):
        assert entry.keys() == {"keypoints"}
        assert np.array_equal(entry["keypoints"], whole_body(video, FRAME_SIZE))


LOADER = """
import logging
import utils.misc
utils.misc.logger = logging.getLogger("as training.py makes it before anything else")
from dataset.Dataset import build_dataset
config = {
    "input_streams": ["keypoint"],
    "keypoint_file": given["folder"] + "/phoenix-2014t-keypoints.pkl",
    "use_keypoints": ["pose", "mouth_half", "hand", "face_others_1_3"],
    "train": given["folder"] + "/phoenix-2014t.train",
}
data = build_dataset(config, "train")
answer({
    "items": [data[index] for index in range(len(data))],
    "points": {name: points.tolist() for name, points in data.name2keypoints.items()},
})
"""
# What the project imports beside torch and numpy, none of which its loader calls.
UNUSED = ("tkinter", "_tkinter", "torchvision", "torch.utils.tensorboard", "wandb", "PIL")


def test_the_loader_of_twostream_reads_both_files(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    root = peer("SLRT") / "TwoStreamNetwork"
    write_twostream(SELECTION, tmp_path / "out")
    read = ask(root, LOADER, {"folder": str(tmp_path / "out")}, UNUSED)
    assert [item["name"] for item in read["items"]] == ["train/01April_2010_Thursday_heute-6694", "train/b/ü.1"]
    assert read["items"][0]["num_frames"] == 6
    assert read["items"][0]["text"] == "morgen regnet es: 10° ."
    # In the order of the names: every third of the face, the hands, every second of the mouth, the upper body.
    columns = [*range(23, 71, 3), *range(91, 133), *range(71, 91, 2), *range(11)]
    for video in VIDEOS:
        theirs = np.array(read["points"][f"{video.split}/{video.video_id}"], np.float32)
        assert np.array_equal(theirs, whole_body(video, FRAME_SIZE)[:, columns])
