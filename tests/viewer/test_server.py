from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import fsspec
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from phoenix_ray.config import SourceSettings
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import OutputError
from phoenix_ray.viewer import library as library_module
from phoenix_ray.viewer.access import TOKEN_HEADER
from phoenix_ray.viewer.library import Library, ShownDataset
from phoenix_ray.viewer.server import make_application
from tests.viewer.made_up import HOSTILE, VIDEOS, compute, finish, picture, write_source

TOKEN = "a-token-of-tests"
STREET = {"split": "train", "video": "Straße 手"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def tree(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    path: str
    query: Mapping[str, str | int] | None = None
    method: str = "GET"
    headers: Mapping[str, str] | None = None


def ask_all(library: Library, requests: Sequence[Request], run_status: Any = None) -> list[Answer]:
    """Return the answers to requests, each without cookies; those without headers bring the token."""

    async def talk() -> list[Answer]:
        application = make_application(library, TOKEN, run_status=run_status)
        async with TestClient(TestServer(application)) as client:
            answers = []
            for request in requests:
                headers = {TOKEN_HEADER: TOKEN} if request.headers is None else request.headers
                query = {name: str(value) for name, value in (request.query or {}).items()}
                client.session.cookie_jar.clear()
                async with client.request(
                    request.method, request.path, params=query, headers=headers, allow_redirects=False
                ) as got:
                    answers.append(Answer(got.status, dict(got.headers), await got.read()))
            return answers

    return asyncio.run(talk())


def ask(library: Library, path: str, **query: str | int) -> Answer:
    return ask_all(library, [Request(path, query)])[0]


@pytest.fixture
def library(dataset: Path) -> Library:
    return Library([ShownDataset(str(dataset), SourceSettings())])


def decoded(answer: Answer) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.astype(np.float64)


def arrays_of(answer: Answer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    (length,) = struct.unpack("<I", answer.body[:4])
    header = json.loads(answer.body[4 : 4 + length])
    start = (4 + length + 7) // 8 * 8
    arrays = {}
    for array in header["arrays"]:
        assert array["place"] % 8 == 0
        count = int(np.prod(array["shape"], dtype=int))
        values = np.frombuffer(answer.body, array["type"], count, start + array["place"])
        arrays[array["name"]] = values.reshape(array["shape"])
    return header, arrays


# Who gets an answer


def test_nothing_is_answered_without_the_token(library: Library) -> None:
    paths = ["/", "/run", "/viewer.js", "/style.css", "/api/nothing"]
    paths += [f"/api/{name}" for name in ("run", "datasets", "videos", "frame")]
    refused = [Request(path, headers=headers) for path in paths for headers in ({}, {TOKEN_HEADER: TOKEN + "x"})]
    refused += [Request("/", {"token": "wrong"}, headers={}), Request("/api/datasets", {"token": TOKEN}, headers={})]
    refused += [
        Request("/", headers={"Cookie": "phoenix-ray-view-1=" + TOKEN}),
        Request("/", {"token": "手"}, headers={}),
    ]
    for request, answer in zip(refused, ask_all(library, refused), strict=True):
        assert answer.status == 403, request
        assert b"dataset" not in answer.body.replace(b"phoenix-ray", b"")


def test_the_address_gives_a_cookie_that_opens_the_page_and_the_token_leaves_the_address(library: Library) -> None:
    async def talk() -> None:
        async with TestClient(TestServer(make_application(library, TOKEN))) as client:
            async with client.get("/", params={"token": TOKEN}, allow_redirects=False) as first:
                cookie = first.headers["Set-Cookie"]
                assert (first.status, first.headers["Location"]) == (302, "/")
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            name, value = cookie.split(";")[0].split("=", 1)
            headers = {"Cookie": f"{name}={value}"}
            for path in ("/", "/viewer.js", "/api/datasets"):
                async with client.get(path, headers=headers) as got:
                    assert got.status == 200, path
            async with client.get("/", params={"token": TOKEN}, headers=headers, allow_redirects=False) as again:
                assert (again.status, again.headers["Location"]) == (302, "/")

    asyncio.run(talk())


def test_the_page_of_a_run_opens_with_the_token_and_asks_for_its_status(library: Library) -> None:
    opened, page, status = ask_all(
        library,
        [Request("/run", {"token": TOKEN}, headers={}), Request("/run"), Request("/api/run")],
        run_status=lambda: {"state": "running"},
    )
    assert (opened.status, opened.headers["Location"]) == (302, "/run")
    assert b'src="run.js"' in page.body
    assert status.tree == {"state": "running"}


def test_a_name_that_is_not_of_this_machine_is_refused_even_with_the_token(library: Library) -> None:
    hosts = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""]
    good = ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"]
    answers = ask_all(
        library, [Request("/api/datasets", headers={TOKEN_HEADER: TOKEN, "Host": host}) for host in hosts + good]
    )
    assert [answer.status for answer in answers] == [403] * len(hosts) + [200] * len(good)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(library: Library, method: str) -> None:
    for path in ("/", "/api/videos", "/api/frame"):
        (answer,) = ask_all(library, [Request(path, method=method)])
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"


def test_every_answer_forbids_what_the_page_does_not_need(library: Library) -> None:
    requests = [
        Request("/"),
        Request("/viewer.js"),
        Request("/api/datasets"),
        Request("/api/nothing"),
        Request("/", headers={}),
        Request("/", method="POST"),
        Request("/api/frame", {"split": "train", "video": "none", "frame": 0}),
        Request("/", method="HEAD"),
    ]
    for answer in ask_all(library, requests):
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' blob:"
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not {"Access-Control-Allow-Origin", "Server"} & set(answer.headers)


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = Path(library_module.__file__).with_name("page")
    html = (page / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=\"viewer.js\")", html) == []
    assert re.findall(r"<style|\bstyle=|\son\w+=", html) == []
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8")
        assert re.findall(r"https?://|//cdn", text) == [], file.name
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text) == [], file.name


def test_no_other_file_is_served(library: Library) -> None:
    paths = ["/../server.py", "/%2e%2e/server.py", "/page/viewer.js", "/static/../server.py", "/dataset.json"]
    assert {answer.status for answer in ask_all(library, [Request(path) for path in paths])} == {404}


# The list


def test_the_list_comes_in_pages_in_the_order_of_splits(library: Library) -> None:
    whole = ask(library, "/api/videos").tree
    assert whole["total"] == 3
    assert [(row["split"], row["video_id"]) for row in whole["rows"]] == sorted(VIDEOS)
    assert [row["frames"] for row in whole["rows"]] == [VIDEOS[key] for key in sorted(VIDEOS)]
    second = ask(library, "/api/videos", first=1, count=1).tree
    assert (second["total"], second["first"], second["rows"]) == (3, 1, whole["rows"][1:2])
    assert ask(library, "/api/videos", first=3).tree["rows"] == []


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("straße", ["Straße 手"]),
        ("手", [HOSTILE, "Straße 手"]),
        ("ONERROR img", [HOSTILE]),
        (".*", []),
        ("手 straße x", []),
    ],
)
def test_a_search_finds_videos_that_hold_each_of_its_words(library: Library, search: str, found: list[str]) -> None:
    rows = ask(library, "/api/videos", search=search).tree["rows"]
    assert [row["video_id"] for row in rows] == found


def test_videos_worth_a_look_come_first_with_the_reason(library: Library, dataset: Path) -> None:
    rows = ask(library, "/api/videos", sort="worth").tree["rows"]
    assert any("unreadable 6.7%" in row["reasons"] for row in rows if row["video_id"] == "b")
    table = {row["video_id"]: row for row in Dataset.open(str(dataset)).videos().to_pylist()}
    parts = ("pose", "left_hand", "right_hand", "face")
    usual = {part: np.median([row[f"{part}_rate"] for row in table.values()]) for part in parts}

    def concern(name: str) -> float:
        row = table[name]
        drops = sum(max(0.0, float(usual[part]) - row[f"{part}_rate"]) for part in parts)
        return float(drops + (row["frames_unreadable"] + row["frames_failed"]) / row["frames"])

    names = [row["video_id"] for row in rows]
    assert names == sorted(names, key=concern, reverse=True)


def test_a_video_has_its_place_in_the_list_that_is_shown(library: Library) -> None:
    place = ask(library, "/api/video", **STREET).tree
    assert (place["place"], place["row"]["frames"]) == (2, 40)
    assert ask(library, "/api/video", **STREET, search="onerror").tree["place"] is None
    assert ask(library, "/api/video", split="dev", video="Straße 手").status == 404


def test_requests_that_make_no_sense_are_refused_with_the_reason(library: Library) -> None:
    for path, query, status in (
        ("/api/videos", {"first": "-1"}, 400),
        ("/api/videos", {"first": "x"}, 400),
        ("/api/videos", {"sort": "size"}, 400),
        ("/api/videos", {"dataset": 1}, 404),
        ("/api/landmarks", {"split": "train"}, 400),
        ("/api/landmarks", {"split": "train", "video": "../dev/b"}, 404),
        ("/api/frame", {"split": "dev", "video": "b"}, 400),
        ("/api/frame", {"split": "dev", "video": "b", "frame": 15}, 404),
        ("/api/run", {}, 404),
    ):
        answer = ask(library, path, **query)
        assert answer.status == status, (path, query)
        if path != "/api/run":
            assert answer.tree["error"], (path, query)


# Landmarks and frames


@pytest.mark.parametrize("key", list(VIDEOS))
def test_landmarks_are_those_of_the_dataset_byte_for_byte(
    library: Library, dataset: Path, key: tuple[str, str]
) -> None:
    header, arrays = arrays_of(ask(library, "/api/landmarks", split=key[0], video=key[1]))
    video = Dataset.open(str(dataset)).load(*key)
    assert (header["split"], header["video_id"], header["frames"]) == (*key, VIDEOS[key])
    assert header["frame_names"] == list(video.frame_names)
    assert [header["statuses"][place] for place in arrays["status"]] == list(video.status)
    assert arrays["frame_index"].tobytes() == video.frame_index.tobytes()
    assert arrays["sizes"].tobytes() == video.sizes.tobytes()
    assert arrays["timestamps"].tobytes() == video.timestamps.tobytes()
    for part in ("pose", "left_hand", "right_hand", "face"):
        assert arrays[f"points/{part}"].tobytes() == video.points[part].tobytes()
        assert arrays[f"scores/{part}"].tobytes() == video.scores[part].tobytes()
    assert "points/pose_world" not in arrays


def test_a_frame_is_the_decoded_frame_of_its_index_and_no_other(library: Library) -> None:
    wanted = [0, 1, 17, 39, 16, 15, 38, 0]
    answers = ask_all(library, [Request("/api/frame", {**STREET, "frame": index}) for index in wanted])
    for index, answer in zip(wanted, answers, strict=True):
        assert answer.headers["Content-Type"] == "image/jpeg"
        shown = decoded(answer)
        own = np.abs(shown - picture(0, index)).mean()
        assert own < 4
        others = [np.abs(shown - picture(0, other)).mean() for other in range(40) if other != index]
        assert min(others) > 4 * own


def test_frames_of_many_requests_at_once_are_each_the_wanted_one(library: Library) -> None:
    async def talk() -> list[np.ndarray]:
        async with TestClient(TestServer(make_application(library, TOKEN))) as client:

            async def frame(index: int) -> np.ndarray:
                query = {**STREET, "frame": str(index)}
                async with client.get("/api/frame", params=query, headers={TOKEN_HEADER: TOKEN}) as got:
                    return decoded(Answer(got.status, {}, await got.read()))

            return await asyncio.gather(*(frame(index) for index in [*range(39, -1, -1), *range(40)]))

    for index, shown in zip([*range(39, -1, -1), *range(40)], asyncio.run(talk()), strict=True):
        assert np.abs(shown - picture(0, index)).mean() < 4


def test_an_unreadable_frame_has_no_picture_and_those_around_it_have(library: Library) -> None:
    requests = [Request("/api/frame", {"split": "dev", "video": "b", "frame": index}) for index in (2, 3, 4, 3)]
    answers = ask_all(library, requests)
    assert [answer.status for answer in answers] == [200, 404, 200, 404]
    assert answers[1].tree["error"]
    assert np.abs(decoded(answers[2]) - picture(2, 4)).mean() < 4


def test_an_absent_source_leaves_list_and_landmarks(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    library = Library([ShownDataset(str(copy), SourceSettings(path=str(tmp_path / "gone")))])
    frame = Request("/api/frame", {**STREET, "frame": 0})
    found, frames, landmarks, picture_, world = ask_all(
        library,
        [
            Request("/api/videos"),
            Request("/api/source", STREET),
            Request("/api/landmarks", STREET),
            frame,
            Request("/api/datasets"),
        ],
    )
    assert found.tree["total"] == 3
    assert landmarks.status == 200
    assert frames.tree["frames"] is None
    assert "gone" in frames.tree["error"]
    assert picture_.status == 404
    assert world.tree["datasets"][0]["source"]["state"] == "absent"


def test_without_frames_the_source_is_never_opened(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "open_recorded_source", lambda *_: pytest.fail("the source was opened"))
    library = Library([ShownDataset(str(dataset), None)])
    requests = [
        Request("/api/datasets"),
        Request("/api/landmarks", STREET),
        Request("/api/frame", {**STREET, "frame": 0}),
    ]
    world, landmarks, frame = ask_all(library, requests)
    assert world.tree["datasets"][0]["source"]["state"] == "off"
    assert (landmarks.status, frame.status) == (200, 404)


def test_a_source_with_another_number_of_frames_says_how_many(dataset: Path, source: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter"
    shutil.copytree(source, shorter)
    (shorter / "train" / "Straße 手" / "039.png").unlink()
    library = Library([ShownDataset(str(dataset), SourceSettings(path=str(shorter)))])
    assert ask(library, "/api/source", **STREET).tree == {"frames": 39, "is_changed": True, "error": ""}


def test_a_source_with_other_pictures_than_those_of_the_landmarks_says_so(
    dataset: Path, source: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(source, tmp_path / "other")
    frames = sorted((other / "train" / "Straße 手").iterdir())
    for frame, content in zip(frames, [frame.read_bytes() for frame in reversed(frames)], strict=True):
        frame.write_bytes(content)
    library = Library([ShownDataset(str(dataset), SourceSettings(path=str(other)))])
    assert ask(library, "/api/source", **STREET).tree == {"frames": 40, "is_changed": True, "error": ""}
    assert ask(library, "/api/source", split="dev", video="b").tree == {"frames": 15, "is_changed": False, "error": ""}


def test_two_datasets_share_the_source_and_keep_their_landmarks_apart(
    source: Path, dataset: Path, tmp_path: Path
) -> None:
    other = compute(source, tmp_path / "tracked", mode="tracking")
    library = Library([ShownDataset(str(path), SourceSettings()) for path in (dataset, other)])
    assert library.datasets[0].listing is library.datasets[1].listing
    requests = [Request("/api/landmarks", {**STREET, "dataset": number}) for number in (0, 1)]
    for answer, path in zip(ask_all(library, requests), (dataset, other), strict=True):
        points = arrays_of(answer)[1]["points/pose"]
        assert points.tobytes() == Dataset.open(str(path)).load("train", "Straße 手").points["pose"].tobytes()


# Datasets that grow, and buckets


def test_rows_that_a_run_adds_appear(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(library_module, "REFRESH_PAUSE", 0)
    output = compute(source, tmp_path / "growing", unfinished=["Straße 手"])
    library = Library([ShownDataset(str(output), SourceSettings())])
    before, landmarks, row = ask_all(
        library, [Request("/api/datasets"), Request("/api/landmarks", STREET), Request("/api/video", STREET)]
    )
    assert before.tree["datasets"][0]["unfinished"] == 1
    header, arrays = arrays_of(landmarks)
    assert (header["frames"], len(arrays["frame_index"])) == (40, 5)
    assert (row.tree["row"]["committed"], row.tree["row"]["frames"]) == (5, 40)
    finish(source, output, "Straße 手")
    library = Library(library.datasets)
    after, landmarks = ask_all(library, [Request("/api/datasets"), Request("/api/landmarks", STREET)])
    assert after.tree["datasets"][0]["unfinished"] == 0
    assert after.tree["datasets"][0]["generation"] > before.tree["datasets"][0]["generation"]
    assert len(arrays_of(landmarks)[1]["frame_index"]) == 40


def test_the_page_does_not_wait_for_a_long_video_that_is_loaded(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library([ShownDataset(str(dataset), None)])
    loading, goes_on = threading.Event(), threading.Event()

    def load(*_: object) -> None:
        loading.set()
        assert goes_on.wait(30)
        raise OutputError("given up")

    monkeypatch.setattr(Dataset, "load", load)
    loader = threading.Thread(target=lambda: ask(library, "/api/landmarks", **STREET))
    loader.start()
    try:
        assert loading.wait(30)
        library.datasets[0].refresh()
        assert library.describe()["datasets"][0]["videos"] == 3
    finally:
        goes_on.set()
        loader.join()


def test_videos_that_an_element_of_an_array_adds_appear(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(library_module, "REFRESH_PAUSE", 0)
    smaller = write_source(tmp_path / "smaller", {("dev", "c"): 6})
    output = compute(smaller, tmp_path / "growing")
    now = time.time()
    holder = LeaseHolder("20260101-1-of-2", socket.gethostname(), os.getppid(), now, now, share="1/2")
    open_storage(str(output)).write("leases/1-of-2.json", json.dumps(asdict(holder)).encode())
    shown = ShownDataset(str(output), None)
    assert shown.is_written
    shutil.copytree(smaller / "dev" / "c", smaller / "dev" / "d")
    compute(smaller, output)
    shown.refresh()
    assert len(shown.videos) == 2


def test_a_dataset_in_a_bucket_is_shown(dataset: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(f"{dataset}/", "/viewer-test/dataset/", recursive=True)
    library = Library([ShownDataset("memory://viewer-test/dataset", SourceSettings())])
    found, landmarks, frame = ask_all(
        library,
        [Request("/api/videos"), Request("/api/landmarks", STREET), Request("/api/frame", {**STREET, "frame": 7})],
    )
    assert found.tree["total"] == 3
    points = arrays_of(landmarks)[1]["points/face"]
    assert points.tobytes() == Dataset.open(str(dataset)).load("train", "Straße 手").points["face"].tobytes()
    assert np.abs(decoded(frame) - picture(0, 7)).mean() < 4


def test_the_progress_of_a_run_comes_from_the_caller(library: Library) -> None:
    (answer,) = ask_all(library, [Request("/api/run")], run_status=lambda: {"state": "running"})
    assert answer.tree == {"state": "running"}


# The command


@pytest.fixture
def server(dataset: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", "from phoenix_ray.cli import main; main()", "view", str(dataset), "--no-open"]
    with subprocess.Popen(
        [*words, "--video", "b", "--around", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_listens_on_this_machine_only_and_ends_well(
    server: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert server.stdout is not None
    line = server.stdout.readline()
    found = re.fullmatch(r"Viewer: http://127\.0\.0\.1:(\d+)/\?token=[\w-]{32}#split=dev&video=b&frame=2\n", line)
    assert found, line
    port = int(found[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 403 " in connection.recv(100)
    other = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for address in {str(name) for name in other} - {"127.0.0.1"}:
        if not address.startswith("127."):
            with pytest.raises(ConnectionRefusedError), socket.create_connection((address, port), timeout=5):
                pass
    server.send_signal(number)
    began = time.monotonic()
    _, errors = server.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert server.returncode == 0
    assert "Traceback" not in errors


STUCK = """
import time
from phoenix_ray.cli import main
from phoenix_ray.viewer import pictures, server

def read_frames(*_):
    time.sleep(600)
    yield

pictures.read_frames = read_frames
server.END_SECONDS = 1.0
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_it_ends_although_a_frame_comes_from_a_mount_that_hangs(dataset: Path) -> None:
    words = [sys.executable, "-c", STUCK, "view", str(dataset), "--no-open"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, token = process.stdout.readline().removeprefix("Viewer: http://").strip().split("/?token=")
        with socket.create_connection(("127.0.0.1", int(address.partition(":")[2]))) as connection:
            path = f"/api/frame?{urlencode({'split': 'dev', 'video': 'b', 'frame': 0})}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN_HEADER}: {token}\r\n\r\n".encode())
            connection.settimeout(2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Something is still being read" in errors


@pytest.mark.parametrize(
    "request_bytes", [b"\x00\x1b[31m no HTTP\r\n\r\n", b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n"]
)
def test_what_is_not_http_is_refused_and_fills_no_terminal(server: subprocess.Popen[str], request_bytes: bytes) -> None:
    assert server.stdout is not None
    port = int(re.findall(r":(\d+)/", server.stdout.readline())[0])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request_bytes)
        assert b" 400 " in connection.recv(100)
    server.terminate()
    _, errors = server.communicate(timeout=30)
    assert errors == "Ctrl-C ends it.\n"
