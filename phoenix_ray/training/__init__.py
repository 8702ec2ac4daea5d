"""Training on a dataset with torch: map-style and streaming data sets, and padding to batches.

```python
videos = LandmarkDataset(phoenix_ray.open("OUTPUT").select(split="train"))
loader = torch.utils.data.DataLoader(videos, batch_size=16, shuffle=True, num_workers=4, collate_fn=pad)
```

Importing it raises `MissingExtraError` where torch is not installed; nothing else of phoenix_ray imports it.
"""

from __future__ import annotations

import importlib.util

from phoenix_ray.errors import MissingExtraError

if importlib.util.find_spec("torch") is None:
    raise MissingExtraError("Training", "torch")

from phoenix_ray.training.datasets import Batch, LandmarkDataset, LandmarkStream, pad

__all__ = ["Batch", "LandmarkDataset", "LandmarkStream", "pad"]
