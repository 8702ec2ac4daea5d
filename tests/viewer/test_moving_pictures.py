from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from functools import partial, partialmethod
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image as Picture

import phoenix_ray
from phoenix_ray.cli import cli
from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError, OutputError, SourceError
from phoenix_ray.viewer import chosen_videos, moving_pictures
from phoenix_ray.viewer.captions import HEIGHT
from phoenix_ray.viewer.film import Form
from phoenix_ray.viewer.moving_pictures import MovingPicture, write_moving_picture
from phoenix_ray.viewer.overlay import draw
from phoenix_ray.viewer.shown_rows import FrameSpan
from phoenix_ray.viewer.tiling import BADGE, TILE_BACKGROUND
from tests.fuzz.bombs import nobody, write_bomb
from tests.sources.made_up import write_video
from tests.test_memory import peak_bytes
from tests.viewer.made_up import compute

FRAMES, WIDTH, RAW_HEIGHT = 10, 52, 65
# A frame of 52x65 is enlarged 12 times in an MP4, 8 times in a GIF.
SCALES = {".mp4": 12, ".gif": 8}
UNREADABLE = 4


def smooth_picture(index: int) -> NDArray[np.uint8]:
    """A picture without noise, which no codec loses, and unlike that of another index."""
    y, x = np.mgrid[0:RAW_HEIGHT, 0:WIDTH]
    waves = [np.sin(x / 9 + index), np.cos(y / 7 + 2 * index), np.sin((x + y) / 11 + 3 * index)]
    return np.asarray(128 + 60 * np.stack(waves, axis=2), np.uint8)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Frame folders without a clock: `clip` in two splits, one with an unreadable frame, and `Straße 手`."""
    source = tmp_path / "source"
    for place in ("train/clip", "dev/clip", "dev/Straße 手"):
        (source / place).mkdir(parents=True)
        for index in range(FRAMES):
            cv2.imwrite(str(source / place / f"{index:02}.png"), smooth_picture(index)[:, :, ::-1])
    (source / "train" / "clip" / f"{UNREADABLE:02}.png").write_bytes(b"no picture")
    return str(compute(source, tmp_path / "output"))


def write(
    dataset: str, file: Path, name: str = "train/clip", form: Form = "overlay", span: FrameSpan | None = None
) -> MovingPicture:
    return write_moving_picture(dataset, file, name, SourceSettings(), form, span=span or FrameSpan())


def decode(file: Path) -> list[NDArray[np.uint8]]:
    if file.suffix == ".gif":
        with Picture.open(file) as gif:
            return [np.asarray(seek(gif, index).convert("RGB")) for index in range(frames_in(gif))]
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def frames_in(gif: Picture.Image) -> int:
    return int(getattr(gif, "n_frames", 1))


def seek(gif: Picture.Image, index: int) -> Picture.Image:
    gif.seek(index)
    return gif


def times_of(file: Path) -> list[float]:
    """When each picture is shown, and when the last one ends."""
    if file.suffix == ".gif":
        with Picture.open(file) as gif:
            delays = [seek(gif, index).info["duration"] / 1000 for index in range(frames_in(gif))]
        return list(itertools.accumulate(delays, initial=0.0))
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        end = float(stream.duration * stream.time_base)
        return [frame.time for frame in container.decode(video=0) if frame.time is not None] + [end]


def drawn(dataset: str, index: int, scale: int, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    video = phoenix_ray.open(dataset).load("train", "clip")
    points = {part: values[index] for part, values in video.points.items()}
    return draw(smooth_picture(index) if image is None else image, video.layout, points, scale)


def distance(shown: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Mean difference of some pixels to the upper part of a picture, which has its caption below."""
    height, width = expected.shape[:2]
    return float(np.abs(shown[:height:5, :width:5].astype(int) - expected[::5, ::5]).mean())


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_each_row_gives_one_picture_with_the_landmarks_of_its_frame(dataset: str, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"clip{ending}"
    done = write(dataset, file)
    pictures = decode(file)
    assert done.pictures == len(pictures) == FRAMES
    assert {picture.shape for picture in pictures} == {(done.height, done.width, 3)}
    scale = SCALES[ending]
    assert (done.width, done.height) == (WIDTH * scale, RAW_HEIGHT * scale + HEIGHT)
    expected = [drawn(dataset, index, scale) for index in range(FRAMES)]
    for index, shown in enumerate(pictures):
        if index != UNREADABLE:
            distances = [distance(shown, other) for other in expected]
            assert np.argmin(distances) == index
            assert distances[index] < (4 if ending == ".mp4" else 8)
            assert distances[index] < sorted(distances)[1] / 3


def test_an_mp4_is_h264_that_every_player_shows_and_begins_with_its_index(dataset: str, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    write(dataset, file)
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert stream.width % 2 == stream.height % 2 == 0
    content = file.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_without_a_clock_25_frames_a_second_are_assumed_and_reported(dataset: str, tmp_path: Path, ending: str) -> None:
    done = write(dataset, tmp_path / f"clip{ending}")
    assert "25 frames/s are assumed" in done.remark
    assert done.seconds == pytest.approx(FRAMES / 25)
    assert times_of(tmp_path / f"clip{ending}") == pytest.approx([index / 25 for index in range(FRAMES + 1)], abs=1e-4)


def made_from_video(tmp_path: Path, times_ms: Sequence[int]) -> str:
    write_video(tmp_path / "videos" / "clip.mp4", codec="libx264", times_ms=times_ms)
    return str(compute(tmp_path / "videos", tmp_path / "timed"))


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_pictures_keep_the_times_of_a_video_whose_rate_varies(tmp_path: Path, ending: str) -> None:
    times = [0, 40, 100, 850, 890, 1900]
    done = write(made_from_video(tmp_path, times), tmp_path / f"clip{ending}", "clip", "skeleton")
    assert done.remark == ""
    assert done.pictures == len(times)
    assert times_of(tmp_path / f"clip{ending}")[:-1] == pytest.approx([time / 1000 for time in times], abs=0.002)


def test_a_gif_keeps_the_length_of_a_rate_that_its_clock_lacks(tmp_path: Path) -> None:
    """30 frames/s are 3.33 hundredths of a second."""
    dataset = made_from_video(tmp_path, [round(1000 * index / 30) for index in range(16)])
    done = write(dataset, tmp_path / "a.gif", "clip", "skeleton")
    times = times_of(tmp_path / "a.gif")
    assert times == pytest.approx([index / 30 for index in range(17)], abs=0.011)
    assert done.seconds == pytest.approx(times[-1])


def test_a_gif_of_a_faster_video_than_browsers_show_says_that_it_is_slower(tmp_path: Path) -> None:
    dataset = made_from_video(tmp_path, range(0, 160, 10))
    done = write(dataset, tmp_path / "a.gif", "clip", "skeleton")
    assert done.pictures == 16
    assert done.seconds == pytest.approx(0.32)
    assert "2.0 times slower" in done.remark


@pytest.mark.parametrize("form", ["overlay", "skeleton", "side by side"])
def test_an_unreadable_frame_is_shown_as_such(dataset: str, tmp_path: Path, form: Form) -> None:
    write(dataset, tmp_path / "clip.mp4", form=form)
    marked = []
    for picture in decode(tmp_path / "clip.mp4"):
        caption = picture[-HEIGHT:].astype(int)
        marked.append(bool((np.abs(caption - BADGE).sum(axis=2) < 40).any()))
    statuses = phoenix_ray.open(dataset).load("train", "clip").status
    assert statuses[UNREADABLE] == "unreadable"
    assert marked == [status != "ok" for status in statuses]


def test_a_skeleton_opens_no_source(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").rename(tmp_path / "gone")
    monkeypatch.setattr(chosen_videos, "open_recorded_source", None)
    done = write(dataset, tmp_path / "clip.mp4", form="skeleton")
    pictures = decode(tmp_path / "clip.mp4")
    assert done.pictures == len(pictures) == FRAMES
    ground = np.full((RAW_HEIGHT * 12, WIDTH * 12, 3), TILE_BACKGROUND, np.uint8)
    expected = [drawn(dataset, index, 1, ground) for index in range(FRAMES)]
    for index in set(range(FRAMES)) - {UNREADABLE}:
        distances = [distance(pictures[index], other) for other in expected]
        assert np.argmin(distances) == index


def test_side_by_side_shows_the_frame_and_then_its_skeleton(dataset: str, tmp_path: Path) -> None:
    done = write(dataset, tmp_path / "clip.mp4", form="side by side")
    width, height = WIDTH * 12, RAW_HEIGHT * 12
    assert done.width == 2 * width + 4
    ground = np.full((height, width, 3), TILE_BACKGROUND, np.uint8)
    plain = cv2.resize(smooth_picture(2), (width, height), interpolation=cv2.INTER_CUBIC)
    shown = decode(tmp_path / "clip.mp4")[2]
    assert distance(shown[:, :width], np.asarray(plain, np.uint8)) < 3
    assert distance(shown[:, -width:], drawn(dataset, 2, 1, ground)) < 5


def test_another_dataset_is_shown_beside_frame_by_frame(dataset: str, tmp_path: Path) -> None:
    """Here the other dataset has fewer rows."""
    other = tmp_path / "other"
    source = tmp_path / "source"
    for index in range(7, FRAMES):
        (source / "train" / "clip" / f"{index:02}.png").rename(tmp_path / f"{index:02}.png")
    compute(source, other)
    for index in range(7, FRAMES):
        (tmp_path / f"{index:02}.png").rename(source / "train" / "clip" / f"{index:02}.png")
    done = write_moving_picture(dataset, tmp_path / "a.mp4", "train/clip", SourceSettings(), beside=str(other))
    assert done.pictures == FRAMES
    pictures = decode(tmp_path / "a.mp4")
    width = WIDTH * 12
    for index in (1, 9):
        expected = drawn(dataset, index, 12)
        assert distance(pictures[index], expected) < 4
        assert (distance(pictures[index][:, -width:], expected) < 4) == (index < 7)


def test_a_span_shows_its_frames_alone(dataset: str, tmp_path: Path) -> None:
    done = write(dataset, tmp_path / "a.mp4", span=FrameSpan(6, 9))
    pictures = decode(tmp_path / "a.mp4")
    assert done.pictures == len(pictures) == 3
    for index, picture in zip(range(6, 9), pictures, strict=True):
        assert distance(picture, drawn(dataset, index, 12)) < 4
    with pytest.raises(ConfigError, match=r"no row of train/clip in frames 50 to 59"):
        write(dataset, tmp_path / "b.mp4", span=FrameSpan(50, 60))
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_one_unreadable_frame_makes_a_picture_too(tmp_path: Path, ending: str) -> None:
    (tmp_path / "source" / "clip").mkdir(parents=True)
    (tmp_path / "source" / "clip" / "0.png").write_bytes(b"no picture")
    done = write(str(compute(tmp_path / "source", tmp_path / "output")), tmp_path / f"a{ending}", "clip")
    assert done.pictures == len(decode(tmp_path / f"a{ending}")) == 1
    assert done.seconds == pytest.approx(0.04)


def test_a_range_is_written_as_first_and_end() -> None:
    assert FrameSpan.parse("3:9") == FrameSpan(3, 9)
    assert FrameSpan.parse("3:") == FrameSpan(3)
    assert FrameSpan.parse(":9") == FrameSpan(0, 9)
    for wrong in ("5", "9:3", "4:4", "-2:5", "a:b"):
        with pytest.raises(ConfigError, match="FIRST:END"):
            FrameSpan.parse(wrong)


@pytest.mark.parametrize(("width", "height", "shown"), [(1920, 1080, (1920, 1080)), (3000, 2000, (1620, 1080))])
def test_large_frames_are_not_enlarged_and_fit_a_screen(
    tmp_path: Path, width: int, height: int, shown: tuple[int, int]
) -> None:
    folder = tmp_path / "source" / "clip"
    folder.mkdir(parents=True)
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((height, width, 3), 90, np.uint8))
    done = write(str(compute(tmp_path / "source", tmp_path / "output")), tmp_path / "a.mp4", "clip")
    assert (done.width, done.height - HEIGHT) == shown


def test_frames_of_several_sizes_keep_their_shape_in_the_place_of_the_most_frequent(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "clip"
    folder.mkdir(parents=True)
    for index, (width, height) in enumerate([(40, 60), (40, 60), (81, 33)]):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((height, width, 3), 250, np.uint8))
    write(str(compute(tmp_path / "source", tmp_path / "output")), tmp_path / "a.mp4", "clip")
    third = decode(tmp_path / "a.mp4")[2]
    assert third.shape == (780 + HEIGHT, 520, 3)
    bright = third[:780].min(axis=2) > 235
    assert 200 < np.count_nonzero(bright.any(axis=1)) < 220


def test_a_video_is_named_by_its_id_or_with_its_split(dataset: str, tmp_path: Path) -> None:
    assert write(dataset, tmp_path / "a.mp4", "Straße 手", "skeleton").pictures == FRAMES
    with pytest.raises(ConfigError, match=r"several videos 'clip': dev/clip, train/clip"):
        write(dataset, tmp_path / "b.mp4", "clip")
    with pytest.raises(ConfigError, match=r"no video 'Strasse 手'. Did you mean 'Straße 手'\?"):
        write(dataset, tmp_path / "b.mp4", "Strasse 手")
    with pytest.raises(ConfigError, match=r"no video 'zzzzz'. It has 3 videos: Straße 手, clip, clip\."):
        write(dataset, tmp_path / "b.mp4", "zzzzz")


def test_a_source_that_is_absent_or_another_is_reported_with_the_ways_out(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "source" / "train" / "clip" / "09.png").unlink()
    with pytest.raises(SourceError, match=r"9 frames in .*row of frame 9.*--source PATH.*--no-frames"):
        write(dataset, tmp_path / "a.mp4")
    (tmp_path / "source").rename(tmp_path / "moved")
    with pytest.raises(SourceError, match=r"--source NEWPATH.*--no-frames"):
        write(dataset, tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir() if "a.mp4" in path.name or "partial" in path.name] == []


def test_a_file_that_cannot_be_written_is_reported_and_an_old_one_stays(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.mp4 cannot be written"):
        write(dataset, tmp_path / "file" / "a.mp4")
    with pytest.raises(ConfigError, match=r"a\.avi ends with '\.avi'"):
        write(dataset, tmp_path / "a.avi")
    (tmp_path / "a.mp4").write_bytes(b"old")

    for error in (OSError(28, "No space left on device"), av.error.ExternalError(1, "No space left in the coder")):

        def fail(*arguments: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(moving_pictures, "write_mp4", fail)
        with pytest.raises(OutputError, match="No space left"):
            write(dataset, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert not list(tmp_path.glob(".*"))


def test_the_command_writes_files_and_reports_what_they_are(dataset: str, tmp_path: Path) -> None:
    words = ["view", dataset, "--video", "dev/clip", "--mp4", str(tmp_path / "a.mp4"), "--gif", str(tmp_path / "a.gif")]
    result = CliRunner().invoke(cli, [*words, "--range", "2:7"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert f"{tmp_path}/a.mp4: 5 frames, 0.20 s, 624x820" in lines[0]
    assert len(decode(tmp_path / "a.gif")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mp4", "a.mp4"], "name it with --video ID"),
        (["--mp4", "a.gif", "--video", "dev/clip"], "does not end with .mp4"),
        (["--mp4", "a.mp4", "--video", "dev/clip", "--side-by-side", "--no-frames"], "--side-by-side shows frames"),
        (["--mp4", "a.mp4", "--video", "dev/clip", "--side-by-side", "--beside", "x"], "--side-by-side shows frames"),
        (
            ["--video", "dev/clip", "--side-by-side"],
            "--side-by-side belongs to an MP4 (--mp4) or a GIF (--gif), not to the page",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_refused(dataset: str, words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["view", dataset, *words])
    assert result.exit_code == 2
    assert message in f"{result.output} {result.exception}"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Real blocks are 32 times as long.
    monkeypatch.setattr(Dataset, "load_blocks", partialmethod(Dataset.load_blocks, block_rows=32))
    peaks = {}
    for label, frames in (("first", 2), ("short", 64), ("long", 640)):
        write_bomb(tmp_path / label, nobody(frames), frames)
        (key,) = phoenix_ray.open(str(tmp_path / label)).keys()
        work = partial(write, str(tmp_path / label), tmp_path / f"{label}.mp4", "/".join(key), "skeleton")
        peaks[label] = peak_bytes(work)
    assert len(decode(tmp_path / "long.mp4")) == 640
    # As arrays, the long video has 14 MB of landmarks, and its pictures take 600 MB.
    assert peaks["long"] < peaks["short"] + 4e6


def test_a_source_that_has_changed_since_is_reported(dataset: str, tmp_path: Path) -> None:
    source = Path(Dataset.open(dataset).identity.source_root)
    other = shutil.copytree(source, tmp_path / "other")
    frame = next(path for path in sorted(other.rglob("*.png")) if path.parent.name == "Straße 手")
    frame.write_bytes(frame.read_bytes() + b"more")
    for place, said in ((source, False), (other, True)):
        done = write_moving_picture(dataset, tmp_path / "v.mp4", "Straße 手", SourceSettings(path=str(place)))
        assert ("has changed since" in done.remark) == said


def test_a_dataset_without_a_video_says_so(tmp_path: Path) -> None:
    claim_dataset(open_storage(str(tmp_path)), DatasetIdentity("holistic-468"))
    with pytest.raises(ConfigError, match="has no video 'v': it has none yet"):
        write(str(tmp_path), tmp_path / "v.mp4", "v")
