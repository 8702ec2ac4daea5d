"""Datasets as somebody could send them: with links, pipes, devices and bombs in any place."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from click.testing import CliRunner

import phoenix_ray
from phoenix_ray.cli import cli
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.errors import PhoenixRayError
from tests.dataset.test_crashes import compact_all

MOST_GROWTH = 768 << 20
STATUS = "runs/20250101-000000-x/status.json"
LONG_AGO = 1_000_000_000


def newest_manifest(folder: Path) -> str:
    return str(max(folder.glob(f"{paths.MANIFESTS}/*.json")).relative_to(folder))


def first(pattern: str) -> Callable[[Path], str]:
    return lambda folder: str(min(folder.glob(pattern)).relative_to(folder))


# Where something else lies than what belongs there.
FILES: dict[str, Callable[[Path], str]] = {
    "dataset.json": lambda folder: paths.IDENTITY,
    "lease.json": lambda folder: paths.LEASE,
    "videos.parquet": lambda folder: paths.VIDEOS,
    "manifest.json": lambda folder: paths.FIRST_MANIFEST,
    "newest manifest": newest_manifest,
    "next manifest": lambda folder: f"{paths.MANIFESTS}/{int(Path(newest_manifest(folder)).stem) + 1:012}.json",
    "data file": first("data/*.parquet"),
    "partition": first("partitions/*/*/*/*.parquet"),
    "failure": first("failures/*/*/*/*.json"),
    "status": lambda folder: STATUS,
}
FOLDERS = ["data", "data/split=train", "data/split=zz", "partitions", "partitions/split=train", "manifests", "failures"]
FOLDERS += ["runs", "quarantine", "data/_delta_log"]


def put_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def put_zeros(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def put_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path, outside: Path) -> None:
    # Names of sockets are short.
    with socket.socket(socket.AF_UNIX) as one:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            one.bind(f"/proc/self/fd/{descriptor}/{path.name}")
        finally:
            os.close(descriptor)


def put_huge(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 33)


def put_folder(path: Path, outside: Path) -> None:
    path.mkdir()


def put_file(path: Path, outside: Path) -> None:
    path.write_bytes(b"{}")


IN_PLACE_OF_FILES = [put_link, put_zeros, put_pipe, put_socket, put_huge, put_folder]
IN_PLACE_OF_FOLDERS = [put_link, put_pipe, put_file]


def plant(folder: Path, outside: Path, name: str, put: Callable[[Path, Path], None]) -> None:
    """Put something in the place of a file or folder of a dataset; a link leads to the same name in another one."""
    path = folder / name
    if name == paths.FIRST_MANIFEST:
        shutil.rmtree(folder / paths.MANIFESTS)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = outside / name
    put(path, target if target.exists() else outside)


def photograph(outside: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return all that lies in a folder: size, times of change and of the last look, content."""
    taken = {}
    for path in sorted(outside.rglob("*")):
        status = path.lstat()
        content, looked = (path.read_bytes(), status.st_atime_ns) if path.is_file() else (b"", 0)
        if path.is_file():
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        taken[str(path)] = (status.st_size, status.st_mtime_ns, looked, content)
    return taken


def age(outside: Path) -> None:
    """Have every file looked at long ago, so that a look at it shows."""
    for path in outside.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def peak_memory() -> int:
    """Return the most bytes that this process has held since `forget_peak`."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail where the block takes more memory than leaves a process of 256 MB below 1 GB.

    What the tests before have loaded into this process is not counted.
    """
    forget_peak()
    before = peak_memory()
    yield
    assert peak_memory() - before < MOST_GROWTH


def commands(folder: Path, scratch: Path) -> dict[str, list[str]]:
    """Return the commands that look at a dataset, by name."""
    return {
        "status": ["status", str(folder)],
        "status --json": ["status", str(folder), "--json"],
        "failures": ["failures", str(folder)],
        "check": ["check", str(folder), "--workers", "1"],
        "stats": ["stats", str(folder)],
        "view": ["view", str(folder), "--sheet", str(scratch / "sheet.png")],
        "verify": ["verify", str(folder), str(folder), "--full"],
        "export": ["export", str(folder), str(scratch / "csv"), "--format", "csv", "--overwrite"],
        "check --repair": ["check", str(folder), "--workers", "1", "--repair"],
    }


def use(folder: Path, scratch: Path) -> dict[str, str]:
    """Do to a dataset all that commands do; return what they said. No error is raised but those for the user."""
    said = {}
    storage = LocalStorage(str(folder))
    looks = commands(folder, scratch)
    repair = looks.pop("check --repair")
    for name, words in looks.items():
        said[name] = invoke(words)
    with suppress(PhoenixRayError):
        for rows in phoenix_ray.open(str(folder)).scan():
            assert rows.num_rows
    # A run: it takes the lease, plans by what is committed, sweeps, compacts and records.
    with suppress(PhoenixRayError):
        lease = Lease.acquire(storage, "run")
        try:
            identity = read_identity(storage)
            committed_in(take_survey(storage, identity))
            sweep(storage, identity, temporary_seconds=0)
            compact_all(storage)
        finally:
            lease.release()
    said["check --repair"] = invoke(repair)
    said["check --repair again"] = invoke(repair)
    return said


def invoke(words: list[str]) -> str:
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    return result.output
