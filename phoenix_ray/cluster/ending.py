"""The last lines of a run: how it ended, where the dataset lies, what is left to compute, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from phoenix_ray.cluster.plan import Plan
from phoenix_ray.dataset.coverage import CommittedFrames
from phoenix_ray.dataset.snapshot import UnreadableVideo, describe_unreadable

# Shards of a plan up to which the videos that are left are counted at the end; a million would take half a minute.
COUNTED_SHARDS = 50_000


@dataclass(frozen=True, slots=True)
class Left:
    """What a run was to compute and did not.

    Attributes:
        frames: Of all its videos.
        frames_planned: That it knew of, those that were committed before included.
        videos: With such frames; None where they were not counted.
        videos_planned: That it knew of.
        unplanned: Videos that could not be opened at all.
    """

    frames: int
    frames_planned: int
    videos: int | None
    videos_planned: int
    unplanned: int

    def __str__(self) -> str:
        parts = []
        if self.frames:
            parts.append(f"{self.frames:,} of {self.frames_planned:,} frames")
            if self.videos is not None:
                parts[0] += f", in {self.videos:,} of {_count(self.videos_planned, 'video')}"
        if self.unplanned:
            parts.append(f"{_count(self.unplanned, 'video')} that cannot be opened")
        return " and ".join(parts) or "nothing"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        state: `finished`, `incomplete`, `stopped` or `failed`.
        output: The dataset's folder.
        left: What is left; None where the run ended before it knew.
        failures: Shards and videos that it put on the failure list.
        unreadable: Videos of the dataset with frames that could not be read.
        words: What was typed after `phoenix-ray`; empty where nothing was typed.
    """

    state: str
    output: str
    left: Left | None = None
    failures: int = 0
    unreadable: Sequence[UnreadableVideo] = field(default_factory=tuple)
    words: Sequence[str] = ()

    def lines(self) -> list[str]:
        """Return the lines."""
        lines = [self._state()]
        if self.left is not None and self.state != "finished":
            merge = self.state == "stopped" and not self.left.frames
            lines.append("Left:   to merge the rows into data files" if merge else f"Left:   {self.left}")
        if self.unreadable:
            failures = f"phoenix-ray failures {shlex.quote(self.output)}"
            lines.append(f"Note:   {describe_unreadable(self.unreadable)}; `{failures}` says more")
        lines.append(f"Output: {self.output}")
        return [*lines, *self._next()]

    def _state(self) -> str:
        match self.state:
            case "finished":
                return "Finished: every frame has its row."
            case "incomplete":
                return f"Finished, but {_count(self.failures, 'failure')}: not every frame has its row."
            case "stopped" if self.left is None:
                return "Stopped before this run computed anything; what was committed before is kept."
            case "stopped":
                return "Stopped before the end; what is committed is kept."
            case _ if self.left is None:
                return "Failed before this run computed anything; what was committed before is kept."
            case _:
                return "Failed; what is committed is kept."

    def _next(self) -> list[str]:
        output = shlex.quote(self.output)
        again = shlex.join(["phoenix-ray", *(word for word in self.words if word != "--force")])
        the_same = again if self.words else "the same command"
        match self.state:
            case "finished":
                return [f"Next:   phoenix-ray view {output} --sheet sheet.png"]
            case "incomplete":
                return [
                    f"Next:   phoenix-ray failures {output}   # says why",
                    f"Then:   {the_same}   # tries them again",
                ]
            case "stopped":
                return [f"Next:   {the_same}   # goes on from here"]
            case _:
                return [f"Next:   {the_same}   # goes on, once the cause of the error is mended"]


def count_left(plan: Plan, committed: CommittedFrames | None, frames_done: int) -> Left:
    """Return what is left of a plan.

    Args:
        plan: Of the run.
        committed: What the dataset holds now; None where that is not known.
        frames_done: What the run committed.
    """
    whole = plan.total
    # Frames that got lost and were computed again count twice among those done.
    frames = max(0, plan.missing_frames - frames_done)
    videos: int | None = None
    if not frames:
        videos = 0
    elif committed is not None and len(plan.shards) <= COUNTED_SHARDS:
        listed = {(shard.video.split, shard.video.video_id): shard.video for shard in plan.shards}
        videos = sum(bool(committed.missing_ranges(video)) for video in listed.values())
    return Left(frames, whole.frames, videos, whole.videos, len(plan.problems))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
