from __future__ import annotations

import pytest

from phoenix_ray.dataset.reader import Dataset
from tests.dataset.made_up import commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish


@pytest.fixture(scope="session")
def landmarks(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eleven compacted videos of 3 to 13 frames, and one that is not compacted."""
    folder = tmp_path_factory.mktemp("dataset")
    storage = new_dataset(folder)
    for number in range(11):
        video = make_video(f"{number:02}", frames=3 + number, gloss=f"GLOSS{number}")
        commit(storage, video, 0, video.frame_count)
    compact_and_publish(storage)
    commit(storage, make_video("open"), 0, 10)
    return Dataset.open(str(folder))
