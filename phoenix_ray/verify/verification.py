"""The three questions of `phoenix-ray verify`, each put as a comparison of two collections.

| question | reference | candidate | equal means |
|---|---|---|---|
| are two results the same? | A | B | within a tolerance, by default 1e-6 |
| is a dataset what its settings give? | computed afresh, without Ray | the dataset | bit for bit, on the same engine |
| is a dataset what MediaPipe gives? | MediaPipe itself | the dataset | by the bars of `models.holistic.bars` |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from phoenix_ray.config import ModelSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection
from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.models import registry
from phoenix_ray.models.holistic.bars import BARS, OTHER_ORDER_BARS, Bars
from phoenix_ray.models.kernels import describe_mixture
from phoenix_ray.verify.digests import agreed_videos
from phoenix_ray.verify.recompute import RecomputedCollection, recorded_settings
from phoenix_ray.verify.report import Criterion
from phoenix_ray.verify.selection import Selection
from phoenix_ray.verify.tolerance import BITS, Tolerance
from phoenix_ray.verify.video import VideoComparison
from phoenix_ray.verify.walk import all_keys, compare_collections

# As large as what a format loses that stores float32 as text of seven digits.
DEFAULT_TOLERANCE = Tolerance("normalised", 1e-6)
# Where bars judge: what is told of single values for information.
_TOLD_BEYOND = Tolerance("pixels", 0.5)


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison that is ready to be made.

    Attributes:
        names: What to call the reference and the candidate.
        reference: What it should be.
        candidate: What it is.
        keys: The videos to compare.
        criterion: What counts as equal.
        statuses: Whether both sides tell why a part may be missing.
        source: Where the frames lie, for pictures; empty where it is not known.
        agreed: Videos known to be the same bits → their number of frames.
    """

    names: tuple[str, str]
    reference: LandmarkCollection
    candidate: LandmarkCollection
    keys: tuple[VideoKey, ...]
    criterion: Criterion
    statuses: bool
    source: str
    agreed: Mapping[VideoKey, int] = field(default_factory=dict)

    def compare(self) -> Iterator[VideoComparison]:
        """Yield what came of each video."""
        return compare_collections(
            self.reference,
            self.candidate,
            self.keys,
            self.criterion.tolerance,
            agreed=self.agreed,
            statuses=self.statuses,
        )

    def mixtures(self) -> tuple[str, ...]:
        """Return a block of lines for each side that is a dataset of ours with rows of unlike machines."""
        ours = [side for side in (self.reference, self.candidate) if isinstance(side, Dataset)]
        return tuple("\n".join(lines) for side in ours if (lines := describe_mixture(side.kernels())))


def two_results(
    reference: str, candidate: str, selection: Selection, tolerance: Tolerance | None, source: str, *, full: bool
) -> Verification:
    """Compare two datasets of ours, or files of other tools.

    Args:
        reference: Where the one lies.
        candidate: Where the other lies.
        selection: Which videos.
        tolerance: What counts as equal; None takes `DEFAULT_TOLERANCE`.
        source: Where the frames lie; empty takes what a dataset records.
        full: Whether to read also what the digests of two datasets vouch for.

    Raises:
        ConfigError: The selection names what is not there.
        OutputError: One cannot be read.
    """
    sides = open_collection(reference), open_collection(candidate)
    ours = [side for side in sides if isinstance(side, Dataset)]
    return Verification(
        (reference, candidate),
        *sides,
        tuple(selection.choose(all_keys(*sides))),
        Criterion(tolerance or DEFAULT_TOLERANCE),
        statuses=len(ours) == 2,
        source=source or next((side.identity.source_root for side in ours), ""),
        agreed=agreed_videos(reference, candidate) if len(ours) == 2 and not full else {},
    )


def against_recomputation(
    path: str, selection: Selection, tolerance: Tolerance | None, source: str, overrides: Iterable[str]
) -> Verification:
    """Compare a dataset of ours with its landmarks computed afresh in this process.

    Args:
        path: Where the dataset lies.
        selection: Which videos.
        tolerance: What counts as equal; None asks for the same bits where engine, device and all else that is recorded
            are the same here, and for the bars of the engine where they are not.
        source: Where the frames lie; empty takes what the dataset records.
        overrides: `section.key=value` words that go before the recorded settings.

    Raises:
        ConfigError: A word or the selection names what is not there, or no tolerance is known.
        PhoenixRayError: The dataset, the source or the model cannot be opened.
    """
    dataset = Dataset.open(path)
    identity = dataset.identity
    settings = recorded_settings(identity, source, tuple(overrides))
    criterion = Criterion(tolerance) if tolerance else expected_nearness(identity, settings.model)
    name = "recomputed" if criterion.bars is None else f"recomputed by {settings.model.engine}"
    return _against(dataset, (name, path), settings, selection, criterion)


def against_mediapipe(
    path: str, selection: Selection, tolerance: Tolerance | None, source: str, overrides: Iterable[str]
) -> Verification:
    """Compare a dataset of ours with MediaPipe itself, reset before each frame, in the environment that holds it.

    The arguments and errors are those of `against_recomputation`; without a tolerance the bars of the dataset's engine
    judge.

    Raises:
        MissingExtraError: MediaPipe is not installed here.
    """
    dataset = Dataset.open(path)
    identity = dataset.identity
    settings = recorded_settings(identity, source, tuple(overrides))
    reference = {"engine": "mediapipe", "device": "auto", "precision": "exact"}
    model = settings.model.model_copy(update=reference)
    criterion = Criterion(tolerance) if tolerance else Criterion(_TOLD_BEYOND, _bars(identity))
    registry.prepare(model)
    return _against(dataset, ("mediapipe", path), settings.model_copy(update={"model": model}), selection, criterion)


def expected_nearness(identity: DatasetIdentity, model: ModelSettings) -> Criterion:
    """Return how near a recomputation with a model must come to a dataset.

    Raises:
        ConfigError: No tolerance is stated for the two.
    """
    if dict(registry.identity(model).fields) == dict(identity.model):
        return Criterion(BITS)
    here = replace(identity, model=registry.identity(model).fields)
    bars = [_bars(identity), _bars(here)]
    other_order = OTHER_ORDER_BARS in bars or here.model.get("architecture") != identity.model.get("architecture")
    return Criterion(_TOLD_BEYOND, OTHER_ORDER_BARS if other_order else BARS)


def _bars(identity: DatasetIdentity) -> Bars:
    """Return how near the engine of a dataset comes to MediaPipe."""
    if identity.model.get("precision", "exact") != "exact":
        raise ConfigError(
            f"No tolerance is stated for model.precision={identity.model['precision']}: give one with --pixels "
            "(docs/engines.md says how far landmarks move)."
        )
    return OTHER_ORDER_BARS if identity.model.get("engine") == "torch" else BARS


def _against(
    dataset: Dataset, names: tuple[str, str], settings: Settings, selection: Selection, criterion: Criterion
) -> Verification:
    fresh = RecomputedCollection(settings, dataset, dataset.identity.source_root)
    keys = tuple(selection.choose(all_keys(fresh, dataset)))
    return Verification(names, fresh, dataset, keys, criterion, statuses=True, source=settings.source.path)
