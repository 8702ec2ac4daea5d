"""Reads what a head says of crops: input, network, outputs. `model` and `onnx.dry_run` call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.heads.crops import Image, to_input
from phoenix_ray.models.heads.networks import load_head_network
from phoenix_ray.models.heads.outputs import Floats, read_outputs
from phoenix_ray.models.onnx.manifest import HeadManifest


class HeadReader:
    """The network of a head, with its input and its outputs as the manifest describes them.

    Args:
        manifest: Input and decoder.
        path: The network's file.
        settings: Threads.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: The file holds no network, or not the manifest's; found by a run on an empty crop.
    """

    def __init__(self, manifest: HeadManifest, path: Path, settings: ModelSettings) -> None:
        self._manifest = manifest
        self._network = load_head_network(manifest, path, settings)
        form = manifest.input
        channels = 1 if form.channel_order == "grey" else 3
        try:
            self.read([np.zeros((*form.size, channels), np.uint8)])
        except ModelError as error:
            raise ModelError(f"The manifest of {manifest.name} and its file {path.name} do not fit: {error}") from None
        except Exception as error:
            raise ModelError(
                f"The manifest of {manifest.name} does not fit {path}, which refused an input of its size, layout and "
                f"channels: {error}"
            ) from None

    def read(self, crops: Sequence[Image]) -> Floats:
        """Return a row for each of N crops (`crops.cut_square`), at least one: float32 (N, `Head.width`)."""
        inputs = np.stack([to_input(crop, self._manifest.input) for crop in crops])
        return read_outputs(self._network.run(inputs), self._manifest.decoder)
