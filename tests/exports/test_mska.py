"""What `S2T_Dataset` of https://github.com/sutwangyan/MSKA (datasets.py) reads, in our words and by its own code.

It unpickles one file per split into a dictionary. Of each value it takes `gloss`, `text`, `num_frames`, `name`, and
permutes `keypoint`, a tensor (frames, 133, 3), to (3, frames, 133); its collate function picks frames by `num_frames`,
divides x by 210, turns y around and divides it by 260. Its tokenizer gives "." an ID of its own where it is a word.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.exports.mska import write_mska
from phoenix_ray.exports.phoenix_keypoints import FRAME_SIZE, sentence
from phoenix_ray.exports.selection import select_for_export
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


LOADER = """
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
UNUSED = (
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
    batch = ask(root, LOADER, given, UNUSED)
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
