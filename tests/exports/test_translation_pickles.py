from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.exports.translation_pickles import FRAME_SIZE, sentence, write_mska, write_twostream
from phoenix_ray.exports.whole_body import whole_body
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, make_landmarks
from tests.exports.peers import ask, peer

torch = pytest.importorskip("torch", reason="torch is not installed")
NAME = "train/01April_2010_Thursday_heute-6694"


def test_a_file_per_split_maps_each_video_to_its_text_and_a_tensor(tmp_path: Path) -> None:
    write_mska(SELECTION, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["Phoenix-2014T.dev", "Phoenix-2014T.train"]
    with (tmp_path / "out" / "Phoenix-2014T.train").open("rb") as stream:
        samples = pickle.load(stream)
    assert list(samples) == [NAME, "train/b/ü.1"]
    sample = samples[NAME]
    assert sample.keys() == {"name", "gloss", "text", "num_frames", "keypoint"}
    assert (sample["name"], sample["gloss"], sample["num_frames"]) == (NAME, "MORGEN __ON__ REGEN", 6)
    assert sample["text"] == "morgen regnet es: 10° ."
    assert sample["keypoint"].dtype == torch.float32
    assert sample["keypoint"].permute(2, 0, 1).shape == (3, 6, 133)
    assert np.array_equal(sample["keypoint"].numpy(), whole_body(VIDEOS[1], FRAME_SIZE))


@pytest.mark.parametrize(
    ("translation", "expected"),
    [
        ("morgen regnet es", "morgen regnet es ."),
        ("morgen regnet es .", "morgen regnet es ."),
        (" morgen regnet es. ", "morgen regnet es ."),
        ("regnet es?", "regnet es ?"),
        ("", ""),
    ],
)
def test_a_translation_ends_in_a_full_stop_of_its_own(translation: str, expected: str) -> None:
    assert sentence(replace(VIDEOS[1], annotation={"translation": translation})) == expected


MSKA_LOADER = """
from datasets import S2T_Dataset
from Tokenizer import GlossTokenizer_S2G
config = {
    "task": "S2T",
    "data": {"dataset_name": "Phoenix-2014T", "max_length": 300},
    "model": {"TranslationNetwork": {"TextTokenizer": {"level": "word", "tokenizer_file": given["words"]}}},
}
glosses = GlossTokenizer_S2G({"gloss2id_file": "data/Phoenix-2014T/gloss2ids.pkl"})
data = S2T_Dataset(given["file"], glosses, config, None, phase="test")
batch = data.collate_fn([data[index] for index in range(len(data))])
answer({
    "name": batch["name"],
    "text": batch["text"],
    "length": batch["src_length"].tolist(),
    "keypoint": batch["keypoint"].tolist(),
    "labels": batch["translation_inputs"]["labels"].tolist(),
    "glosses": batch["gloss_input"]["gloss_labels"].tolist(),
})
"""
# What the project imports beside torch and numpy, none of which its loader calls.
MSKA_UNUSED = (
    *("torchvision", "transformers", "cv2", "einops", "torchtext", "tensorflow", "matplotlib", "seaborn", "PIL"),
    *("wandb", "sacrebleu"),
)


def test_the_loader_of_mska_makes_a_batch_of_it(tmp_path: Path) -> None:
    root = peer("MSKA")
    videos = (make_landmarks("train", "a", 8), make_landmarks("train", "b", 12))
    write_mska(select_for_export(InMemory(videos)), tmp_path / "out")
    words = ("morgen", "regnet", "es:", "10°", ".")
    vocabulary = {"word2fre": dict.fromkeys(words, 1), "special_tokens": ["<pad>", "</s>", "<unk>", "<s>"]}
    (tmp_path / "words.json").write_text(json.dumps(vocabulary))
    given = {"file": str(tmp_path / "out" / "Phoenix-2014T.train"), "words": str(tmp_path / "words.json")}
    batch = ask(root, MSKA_LOADER, given, MSKA_UNUSED)
    assert batch["name"] == ["train/a", "train/b"]
    assert batch["text"] == ["morgen regnet es: 10° ."] * 2
    assert batch["length"] == [8, 12]
    end, unknown = 1, 2
    assert all(labels[-1] == end and unknown not in labels and len(labels) == 6 for labels in batch["labels"])
    assert len(batch["glosses"][0]) == 3
    keypoints = np.array(batch["keypoint"], np.float32)
    assert keypoints.shape == (2, 3, 12, 133)
    for row, video in enumerate(videos):
        ours = whole_body(video, FRAME_SIZE)
        np.testing.assert_allclose(keypoints[row, 0, : len(video)], ours[:, :, 0] / 105 - 1, atol=1e-5)
        np.testing.assert_allclose(keypoints[row, 1, : len(video)], 1 - ours[:, :, 1] / 130, atol=1e-5)
        assert np.array_equal(keypoints[row, 2, : len(video)], ours[:, :, 2])


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


TWOSTREAM_LOADER = """
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
TWOSTREAM_UNUSED = ("tkinter", "_tkinter", "torchvision", "torch.utils.tensorboard", "wandb", "PIL")


def test_the_loader_of_twostream_reads_both_files(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    root = peer("SLRT") / "TwoStreamNetwork"
    write_twostream(SELECTION, tmp_path / "out")
    read = ask(root, TWOSTREAM_LOADER, {"folder": str(tmp_path / "out")}, TWOSTREAM_UNUSED)
    assert [item["name"] for item in read["items"]] == ["train/01April_2010_Thursday_heute-6694", "train/b/ü.1"]
    assert read["items"][0]["num_frames"] == 6
    assert read["items"][0]["text"] == "morgen regnet es: 10° ."
    # In the order of the names: every third of the face, the hands, every second of the mouth, the upper body.
    columns = [*range(23, 71, 3), *range(91, 133), *range(71, 91, 2), *range(11)]
    for video in VIDEOS:
        theirs = np.array(read["points"][f"{video.split}/{video.video_id}"], np.float32)
        assert np.array_equal(theirs, whole_body(video, FRAME_SIZE)[:, columns])
