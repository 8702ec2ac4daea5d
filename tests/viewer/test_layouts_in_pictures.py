"""Every layout in every picture that the viewer makes: drawn where it was found, and nowhere else."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from phoenix_ray.cli import cli
from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.layouts import SEEN_FROM, Layout, Part
from phoenix_ray.viewer import overlay
from phoenix_ray.viewer.contact_sheet import write_contact_sheet
from phoenix_ray.viewer.transfer import describe_layout, encode_landmarks
from tests.zoo import NOBODY, SIZE, ZOO, layout_id, write_zoo_dataset, zoo_video

WIDTH, HEIGHT = SIZE
SCALE = 4
# Pixels of the enlarged picture: a point's core is drawn within this distance of its place.
NEAR = 4
# Fine lines of a face are drawn thinly.
FAINTEST = 20


def drawn_points(part: Part, points: NDArray[np.float32]) -> list[int]:
    """Return the points of a part that a line reaches, or all where it has no lines.

    Guesses are left out, and points of the body that hands and face have more finely.
    """
    coarse = {name for names in overlay.DUPLICATES.values() for name in names} if part.name == "pose" else set()
    found = np.isfinite(points[:, :2]).all(axis=1) & (points[:, 2] >= SEEN_FROM["confidence"])
    found &= [name not in coarse for name in part.points]
    if not part.edges:
        return [index for index in range(len(found)) if found[index]]
    return sorted({point for edge in part.edges if found[list(edge)].all() for point in edge})


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_each_point_that_was_found_is_drawn_at_its_place(layout: Layout) -> None:
    video = zoo_video(layout)
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for frame in range(NOBODY + 1, len(video) - 1):
        drawn = overlay.draw(black, layout, {part: points[frame] for part, points in video.points.items()}, SCALE)
        assert drawn.shape == (HEIGHT * SCALE, WIDTH * SCALE, 3)
        # Points lie away from the border: a missing one would be drawn in the corner, or lead a line there.
        assert not drawn[: HEIGHT * SCALE // 20].any()
        assert not drawn[:, : WIDTH * SCALE // 20].any()
        for part in layout.parts:
            points = video.points[part.name][frame]
            for index in drawn_points(part, points):
                x, y = (points[index, :2] * np.array(SIZE) * SCALE).astype(int)
                seen = drawn[max(0, y - NEAR) : y + NEAR + 1, max(0, x - NEAR) : x + NEAR + 1]
                assert seen.max() > FAINTEST, (layout.name, part.name, part.points[index], frame)


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_nothing_is_drawn_where_nobody_was_found(layout: Layout) -> None:
    video = zoo_video(layout)
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    drawn = overlay.draw(picture, layout, {part: points[NOBODY] for part, points in video.points.items()}, SCALE)
    assert (drawn == 90).all()


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_moving_pictures_and_pages_are_made_of_each_layout(layout: Layout, tmp_path: Path) -> None:
    dataset = write_zoo_dataset(tmp_path / "dataset", layout)
    split, video = next(iter(sorted(Dataset.open(dataset).keys())))
    for option, name in (("--gif", "film.gif"), ("--mp4", "film.mp4"), ("--html", "page.html")):
        file = tmp_path / name
        words = ["view", dataset, "--video", f"{split}/{video}", option, str(file)]
        result = CliRunner().invoke(cli, [*words, *([] if option == "--html" else ["--no-frames"])])
        assert result.exit_code == 0, result.output
        assert file.stat().st_size > 1000
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f'"{part.name}"' in page for part in layout.parts)


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_the_page_learns_colour_points_and_edges_of_each_part(layout: Layout) -> None:
    described = describe_layout(layout)["parts"]
    assert [part["name"] for part in described] == [part.name for part in layout.parts]
    assert all(part["colour"] for part in described)


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_a_contact_sheet_shows_each_layout_over_its_frames(layout: Layout, tmp_path: Path) -> None:
    dataset, source = write_zoo_dataset(tmp_path / "dataset", layout), tmp_path / "source"
    video = Dataset.open(dataset).load("train", "a")
    (source / "train" / "a").mkdir(parents=True)
    for name in video.frame_names:
        cv2.imwrite(str(source / "train" / "a" / name), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    file = tmp_path / "sheet.png"
    write_contact_sheet(dataset, file, SourceSettings(path=str(source)), videos=1, frames=len(video))
    sheet = cv2.imread(str(file))
    assert sheet is not None
    for style in overlay.styles_of(layout).values():
        near = np.abs(sheet[:, :, ::-1].astype(int) - style.colour).max(axis=2) < 12
        assert near.sum() > 50, style


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_the_page_receives_every_number_with_what_is_missing(layout: Layout) -> None:
    video = zoo_video(layout)
    content = encode_landmarks(video, len(video))
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    start = -(-(4 + length) // 8) * 8
    arrays = {entry["name"]: entry for entry in header["arrays"]}
    for part in layout.parts:
        for kind, expected in (("points", video.points[part.name]), ("scores", video.scores[part.name])):
            entry = arrays[f"{kind}/{part.name}"]
            found = np.frombuffer(content, "<f4", expected.size, start + entry["place"]).reshape(entry["shape"])
            assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_a_notebook_draws_and_plays_each_layout(layout: Layout) -> None:
    video = zoo_video(layout)
    drawn = np.asarray(video.draw(5))
    assert not np.array_equal(drawn, np.asarray(video.draw(NOBODY)))
    assert "data:video/mp4;base64," in video.play(end=3)._repr_html_()
    assert layout.parts[0].name.replace("_", " ") in video._repr_html_()
