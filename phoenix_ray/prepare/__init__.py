"""Landmarks as training inputs: transforms over arrays, a pipeline of them, and `phoenix-ray prepare`.

Every transform can be used alone, as `transform=` of a torch dataset:

    from phoenix_ray.prepare import Compose, FillGaps, ImageHeights, ShoulderWidth, TakePoints

    transform = Compose(TakePoints("upper_body", "hands"), FillGaps("linear", 5), ImageHeights(), ShoulderWidth())

`TakePoints` comes first: it turns a `VideoLandmarks` into a `Prepared`. All others turn a `Prepared` into a `Prepared`.
"""

from phoenix_ray.prepare.cleaning import FillGaps, OneEuro, SavitzkyGolay
from phoenix_ray.prepare.examples import PreparedBatch, Vocabulary, collate
from phoenix_ray.prepare.normalise import ImageHeights, PartBoxes, ShoulderWidth, WristCentred
from phoenix_ray.prepare.points import KeepPoints, Mirror, TakePoints
from phoenix_ray.prepare.prepared import Compose, Prepared
from phoenix_ray.prepare.temporal import AddMotion, ToFrameRate, ToLength

__all__ = [
    "AddMotion",
    "Compose",
    "FillGaps",
    "ImageHeights",
    "KeepPoints",
    "Mirror",
    "OneEuro",
    "PartBoxes",
    "Prepared",
    "PreparedBatch",
    "SavitzkyGolay",
    "ShoulderWidth",
    "TakePoints",
    "ToFrameRate",
    "ToLength",
    "Vocabulary",
    "WristCentred",
    "collate",
]
