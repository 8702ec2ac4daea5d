"""Where the runs of a laboratory write: a folder of this machine, or a prefix of a bucket."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from phoenix_ray.dataset.storage import Storage

# In memory where that exists: what dies in a laboratory are processes, never the machine.
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Output:
    """An output.

    Attributes:
        path: What the setting `output.path` says.
        storage: Its files; no fault comes between.
    """

    path: str
    storage: Storage

    @property
    def log(self) -> Path:
        """What its runs say."""
        return beside(self.path, ".log")

    def names(self, folder: str = "", ending: str = "") -> list[str]:
        """Return the names of the finished files below a folder, in order."""
        listed = self.storage.list(folder)
        return sorted(file.name for file in listed if file.name.endswith(ending) and not file.temporary)

    def copy_to(self, other: Output) -> None:
        """Copy all files."""
        for name in self.names():
            other.storage.write(name, self.storage.read(name))

    def remove(self) -> None:
        """Remove all files."""
        for file in self.storage.list(""):
            self.storage.delete(file.name)


def beside(path: str, ending: str) -> Path:
    """Return a file of this machine that belongs to an output."""
    if "://" not in path:
        return Path(f"{path}{ending}")
    laboratory, name = urlsplit(path).path.split("/")[-2:]
    return SCRATCH / laboratory / f"{name}{ending}"
