"""Landmarks as training inputs: transforms over arrays, a pipeline of them, and `phoenix-ray prepare`.

Every transform can be used alone, as `transform=` of a torch dataset:

    from phoenix_ray.prepare import Compose, FillGaps, ImageHeights, ShoulderWidth, TakePoints

    transform = Compose(TakePoints("upper_body", "hands"), FillGaps("linear", 5), ImageHeights(), ShoulderWidth())

`TakePoints` comes first: it turns a `VideoLandmarks` into a `Prepared`. All others turn a `Prepared` into a `Prepared`.
"""

from phoenix_ray.prepare.batch import Batch, collate
from phoenix_ray.prepare.gaps import FillGaps
from phoenix_ray.prepare.mirror import Mirror
from phoenix_ray.prepare.motion import AddMotion
from phoenix_ray.prepare.normalise import ImageHeights, PartBoxes, ShoulderWidth, WristCentred
from phoenix_ray.prepare.prepared import Compose, Prepared
from phoenix_ray.prepare.resampling import ToFrameRate, ToLength
from phoenix_ray.prepare.smoothing import OneEuro, SavitzkyGolay
from phoenix_ray.prepare.take import KeepPoints, TakePoints
from phoenix_ray.prepare.vocabulary import Vocabulary

__all__ = [
    "AddMotion",
    "Batch",
    "Compose",
    "FillGaps",
    "ImageHeights",
    "KeepPoints",
    "Mirror",
    "OneEuro",
    "PartBoxes",
    "Prepared",
    "SavitzkyGolay",
    "ShoulderWidth",
    "TakePoints",
    "ToFrameRate",
    "ToLength",
    "Vocabulary",
    "WristCentred",
    "collate",
]
