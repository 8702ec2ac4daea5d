"""The sections of a report with pictures: frames without landmarks, failures, and videos worth a look.

`plan_pictures` decides which frames are shown, so that all of them are read in one go; their number is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.report.findings import MOST_FAILURES, Findings
from phoenix_ray.report.markup import ABSENT, Element, Node, brief, element, more, note, picture, table, video_label
from phoenix_ray.report.pictures import Picture, Wanted, affected_frames, draw_pictures, typical_frame
from phoenix_ray.report.quality import part_name
from phoenix_ray.sources.base import Source
from phoenix_ray.statistics.report import outlier_value, view_command
from phoenix_ray.statistics.summary import Outlier
from phoenix_ray.text import counted

# Status → what a reader calls its frames, and what they mean.
STATUS_TEXTS = {
    "no_person": ("no person", "The frame was read, and the model found nobody in it."),
    "unreadable": ("unreadable", "The source has no picture here: a truncated upload, a damaged or missing file."),
    "failed": ("failed", "The frame was read, and the model failed on it."),
}
PICTURES_PER_STATUS = 6
OUTLIERS_SHOWN = 3
FAILURES_SHOWN = 10
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class StatusExample:
    """A video with frames of a status: how many of how many, the one in the middle, and the first error."""

    key: VideoKey
    affected: int
    frames: int
    frame: int
    error: str


@dataclass(frozen=True, slots=True)
class PicturePlan:
    """The frames to show.

    Attributes:
        statuses: Status → its examples, those with the most such frames first.
        outliers: Videos to look at, each with the frame to show; None where there is none.
    """

    statuses: Mapping[str, Sequence[StatusExample]]
    outliers: Sequence[tuple[Outlier, int | None]]

    def wanted(self) -> set[Wanted]:
        """Return the frames to draw; an unreadable one has no picture."""
        bare = {
            Wanted(example.key, example.frame, bare=True)
            for status, examples in self.statuses.items()
            if status != "unreadable"
            for example in examples
        }
        return bare | {_wanted(outlier, frame) for outlier, frame in self.outliers if frame is not None}


@dataclass(frozen=True, slots=True)
class ShownFrames:
    """What `plan_pictures` wanted and what came of it.

    `reason` says why there are no frames, `changes` which of them may be the wrong ones; empty where all is well.
    """

    plan: PicturePlan
    drawn: Mapping[Wanted, Picture]
    reason: str
    changes: str


def take_pictures(findings: Findings, open_frames: Callable[[], Source] | None) -> ShownFrames:
    """Choose the frames to show and draw them; without `open_frames` skeletons alone.

    Raises:
        OutputError: The dataset cannot be read.
    """
    plan = plan_pictures(findings)
    drawn, reason, changes = draw_pictures(findings.collection, plan.wanted(), open_frames)
    if open_frames is None:
        reason = (
            "Frames are left out of this report on purpose."
            if findings.record is not None
            else "Landmarks of other tools do not say where their frames are."
        )
    return ShownFrames(plan, drawn, reason, changes)


def plan_pictures(findings: Findings) -> PicturePlan:
    """Choose the frames to show."""
    statuses = {status: list(_examples(findings, status)) for status in STATUS_TEXTS}
    outliers = [(outlier, _frame_of(findings, outlier)) for outlier in findings.outliers(OUTLIERS_SHOWN)]
    return PicturePlan({status: examples for status, examples in statuses.items() if examples}, outliers)


def _wanted(outlier: Outlier, frame: int) -> Wanted:
    return Wanted((outlier.split, outlier.video_id), frame)


def _examples(findings: Findings, status: str) -> Iterator[StatusExample]:
    affected = [video for video in findings.counted if video.statuses.get(status)]
    worst = sorted(affected, key=lambda video: (-video.statuses[status], video.split, video.video_id))
    for video in worst[:PICTURES_PER_STATUS]:
        key = (video.split, video.video_id)
        frames, error = affected_frames(findings.collection, key, status)
        if frames:
            yield StatusExample(key, len(frames), video.frames, frames[len(frames) // 2], error)


def _frame_of(findings: Findings, outlier: Outlier) -> int | None:
    """Return the frame that shows an outlier: the one that it names, else one without the part, or with it."""
    if outlier.frame is not None:
        return outlier.frame
    key = (outlier.split, outlier.video_id)
    return typical_frame(findings.collection, key, outlier.part, found=outlier.reason != "lowest rate")


def missing_section(findings: Findings, pictures: ShownFrames) -> Element:
    """Return the frames without landmarks, by status, and the failure list."""
    everything = findings.everything
    content: list[Node] = []
    for status, (name, meaning) in STATUS_TEXTS.items():
        if count := everything.statuses.get(status, 0):
            content += _status(findings, pictures, status, f"{counted(count, 'frame')}: {name}", meaning)
    if not content:
        content.append(note("Every frame was read, and a person was found in each."))
    return element("section", element("h2", "Frames without landmarks"), *content, *_failures(findings))


def _status(findings: Findings, pictures: ShownFrames, status: str, title: str, meaning: str) -> Iterator[Node]:
    affected = sum(bool(video.statuses.get(status)) for video in findings.counted)
    shown = pictures.plan.statuses.get(status, ())
    drawn = [pictures.drawn.get(Wanted(example.key, example.frame, bare=True)) for example in shown]
    yield element("h3", title)
    yield note(f"{meaning} In {counted(affected, 'video')}; shown are those with the most.")
    if any(drawn):
        if pictures.changes:
            yield note(f"Beware: {pictures.changes}.")
        cards = (_status_card(made, status, example) for made, example in zip(drawn, shown, strict=True))
        yield element("div", *cards, class_="cards")
    else:
        if status != "unreadable" and pictures.reason:
            yield note(f"No pictures: {pictures.reason}")
        rows = (
            [
                video_label(*example.key),
                f"{example.affected:,}",
                f"{example.frames:,}",
                f"{example.frame:,}",
                brief(example.error, _LONGEST_MESSAGE) or ABSENT,
            ]
            for example in shown
        )
        yield table(["video", "such frames", "of", "one of them", "error"], rows, texts=(0, 4))
    yield more(len(shown), affected, "video")


def _status_card(drawn: Picture | None, status: str, example: StatusExample) -> Element:
    name = video_label(*example.key)
    return element(
        "div",
        _image(drawn, f"frame {example.frame} of {name}", STATUS_TEXTS[status][0]),
        element("p", name, class_="name"),
        element("p", f"{example.affected:,} of {counted(example.frames, 'frame')}; frame {example.frame}"),
        element("p", brief(example.error, _LONGEST_MESSAGE), class_="error") if example.error else None,
        class_="card",
    )


def _image(drawn: Picture | None, description: str, badge: str) -> Element:
    if drawn is None:
        return element("div", element("span", badge), class_="blank")
    return picture(drawn.content, drawn.width, drawn.height, description)


def _failures(findings: Findings) -> Iterator[Node]:
    if findings.record is None or not findings.record.failures:
        return
    failures = findings.record.failures
    classes = Counter(failure.failure_class for failure in failures)
    yield element("h3", "Failure list")
    listed = ", ".join(f"{count:,} {name}" for name, count in sorted(classes.items()))
    whole = f"{MOST_FAILURES:,} or more" if len(failures) == MOST_FAILURES else f"{len(failures):,}"
    yield note(
        f"{whole} entries; by class: {listed}. These shards or videos have no rows yet; the next run tries them again. "
        "`phoenix-ray failures` lists all, with tracebacks."
    )
    rows = (
        [
            video_label(failure.split, failure.video_id),
            f"{failure.first} to {failure.last - 1}" if failure.last > failure.first else "whole video",
            failure.failure_class,
            f"{failure.attempts}",
            brief(failure.node) or ABSENT,
            brief(failure.message, _LONGEST_MESSAGE),
        ]
        for failure in failures[:FAILURES_SHOWN]
    )
    yield table(["video", "frames", "class", "attempts", "node", "message"], rows, texts=(0, 1, 2, 4, 5))
    yield more(FAILURES_SHOWN, len(failures), "failure")


def outliers_section(pictures: ShownFrames, dataset: str | None) -> Element:
    """Return the videos worth a look; `dataset` is what `phoenix-ray view` takes, None for files of other tools."""
    heading = element("h2", "Videos worth a look")
    if not pictures.plan.outliers:
        return element("section", heading, note("None: no video of ten frames or more stands out."))
    content: list[Node] = []
    for (part, reason), worst in groupby(pictures.plan.outliers, key=lambda pair: (pair[0].part, pair[0].reason)):
        cards = (_outlier_card(pictures, outlier, frame) for outlier, frame in worst)
        row = element("div", element("h3", f"{part_name(part)}: {reason}"), element("div", *cards, class_="cards"))
        row.set("class", "outliers")
        content.append(row)
    remark = (
        "The extremes of each measure, in videos of ten frames or more: where errors of the model are likeliest, "
        "and also where signers do something unusual."
    )
    if pictures.reason:
        remark += f" Skeletons alone: {pictures.reason}"
    if pictures.changes:
        remark += f" Beware: {pictures.changes}."
    first = pictures.plan.outliers[0][0]
    command = element("pre", view_command(dataset, first)) if dataset is not None else None
    return element(
        "section",
        heading,
        note(remark),
        element("div", *content, class_="columns"),
        note("To see one of them in the browser:") if command is not None else None,
        command,
    )


def _outlier_card(pictures: ShownFrames, outlier: Outlier, frame: int | None) -> Element:
    drawn = None if frame is None else pictures.drawn.get(_wanted(outlier, frame))
    name = video_label(outlier.split, outlier.video_id)
    place = "" if frame is None else f"; frame {frame}"
    return element(
        "div",
        _image(drawn, f"{name}{place}", "nothing found"),
        element("p", name, class_="name"),
        element("p", element("b", outlier_value(outlier)), place),
        class_="card",
    )
