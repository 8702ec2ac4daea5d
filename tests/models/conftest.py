"""Fixtures of the models' tests: weights, and frames that may be shipped."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.weights import ensure_installed

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder of Holistic's weights, installed on first use."""
    return ensure_installed()


@pytest.fixture(scope="session")
def all_weights(weights: Path) -> Path:
    """The folder, with the pose networks that MediaPipe's wheel lacks."""
    try:
        for complexity in (0, 2):
            ensure_installed(ModelSettings(complexity=complexity))
    except ModelError as error:
        pytest.skip(f"the lite and heavy pose networks cannot be fetched here: {error}")
    return weights


@pytest.fixture(scope="session")
def astronaut() -> Image:
    """A public-domain picture of a person, uint8 (512, 512, 3)."""
    data = pytest.importorskip("skimage.data")
    picture: Image = data.astronaut()
    return picture


@pytest.fixture(scope="session")
def moving_astronaut(astronaut: Image) -> list[Image]:
    """Six frames of 210x260 with pan, zoom and rotation."""
    frames = []
    for step in range(6):
        motion = cv2.getRotationMatrix2D((230, 200), 3 * step - 7, 0.5 + 0.03 * step)
        motion[:, 2] += (80 - 230 + 10 * step, 130 - 200)
        frames.append(np.asarray(cv2.warpAffine(astronaut, motion, (210, 260)), dtype=np.uint8))
    return frames
