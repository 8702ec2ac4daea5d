"""The claim on an output: it lies where a run may write, and no other driver works on it.

Every command that writes a dataset claims it first. An output inside the source is fine: a tree of media passes over
datasets (`sources.media_tree`).
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath

from phoenix_ray.cluster.progress import say
from phoenix_ray.config import Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import BEGINNING, keep_lease_for
from phoenix_ray.dataset.identity import (
    DatasetIdentity,
    claim_dataset,
    define_layout,
    is_recorded,
    listing_settings,
)
from phoenix_ray.dataset.lease import Lease, LeaseHeldError, keep_lease
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.models import registry
from phoenix_ray.object_stores import is_object_store, open_bucket

_NAMES_SHOWN = 3
# Between two looks at whether another element of an array has made the dataset.
_LOOK_SECONDS = 1.0
# What file systems keep in the root of a volume, beside hidden files.
_FILE_SYSTEM_NAMES = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class Claim:
    """An output that this process alone may write, or with other elements of an array.

    Attributes:
        storage: The output.
        lease: Keeps other drivers away; `lease.confirm` raises once another driver has taken the output over.
        run_id: Names this run within the dataset.
        share: The videos that it may write; None is all of them.
        beginning: Keeps other elements of an array from making the dataset meanwhile.
    """

    storage: Storage
    lease: Lease
    run_id: str
    share: Share | None = None
    beginning: ExitStack = field(default_factory=ExitStack)

    def begin_dataset(self, identity: DatasetIdentity) -> None:
        """Make the dataset if it is not there: called when a worker has loaded the model.

        Raises:
            FingerprintMismatchError: The dataset was computed with other settings.
            OutputError: The output cannot be written, or its `dataset.json` cannot be understood.
        """
        claim_dataset(self.storage, identity)
        self.beginning.close()


@contextmanager
def claim_output(
    settings: Settings, prefix: str = "", share: Share | None = None, say: Callable[[str], None] = say
) -> Iterator[Claim]:
    """Hold the lease of the output, or of a share of its videos, for a block, under a new run ID.

    A share also waits for its turn to make the dataset, where there is none yet. So the elements of an array that
    start together agree on what `auto` stands for: the first decides, the others find its decision recorded.

    Args:
        settings: Names the output; `run.force` takes it from another driver, `run.wait_for_lease_seconds` waits for it.
        prefix: The run ID begins with it where the work is not that of a run: "compact-".
        share: The share of the videos; None is all of them.
        say: Receives a line before each wait.

    Raises:
        OutputError: Another driver is still at work and `run.force` is not set, or the output cannot be written.
    """
    storage = open_storage(settings.output.path)
    run_id = f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    if share:
        # Hundreds of elements may start in the same second.
        run_id += f"-{share.index}-of-{share.count}"
    force, wait_seconds = settings.run.force, settings.run.wait_for_lease_seconds
    with ExitStack() as beginning, keep_lease_for(storage, run_id, share, force, wait_seconds, say) as lease:
        claim = Claim(storage, lease, run_id, share, beginning)
        if share:
            _wait_to_begin(claim, say)
        yield claim


def _wait_to_begin(claim: Claim, say: Callable[[str], None]) -> None:
    """Return when there is a dataset, or when it is this element's turn to make one."""
    said = False
    while not is_recorded(claim.storage):
        turn = keep_lease(claim.storage, claim.run_id, name=BEGINNING, share=str(claim.share))
        try:
            claim.beginning.enter_context(turn)
        except LeaseHeldError:
            claim.lease.confirm()
            if not said:
                say("Waiting for another element of the array, which makes the dataset")
                said = True
            time.sleep(_LOOK_SECONDS)
            continue
        if is_recorded(claim.storage):
            claim.beginning.close()
        return


def make_identity(settings: Settings, source_root: str) -> DatasetIdentity:
    """Return what rows computed with these settings have in common; `auto` is decided in them (`cluster.auto`)."""
    facts = registry.facts(settings.model)
    return DatasetIdentity(
        layout=facts.layout.name,
        model=facts.identity,
        limit_frames=settings.source.limit_frames,
        signature=settings.source.signature,
        source_root=source_root,
        square_pixels=settings.source.square_pixels,
        layout_definition=define_layout(facts.layout),
        listing=listing_settings(settings.source),
    )


def check_places(source_root: str, output_path: str) -> None:
    """Refuse an output that is the source or holds it, and a folder or bucket of somebody else's files.

    Args:
        source_root: Absolute path or URI of the source, or a name where it lies in memory.
        output_path: The output as the settings name it, which need not exist. `open_storage` is left to refuse an
            output that cannot be.

    Raises:
        ConfigError: The output is the source, or holds it.
        OutputError: The output is not a dataset and holds other files, or cannot be listed.
    """
    if not output_path:
        return
    if is_object_store(output_path):
        _check_nesting(_as_path(source_root), _as_path(output_path), source_root, output_path)
        _refuse_foreign_objects(ObjectStorage(open_bucket(output_path)))
    elif "://" not in output_path or output_path.startswith("file://"):
        output = Path(output_path.removeprefix("file://")).expanduser().resolve()
        if Path(source_root).is_absolute():
            source = Path(source_root).resolve()
            _check_nesting(source, output, _shown(source_root, source), _shown(output_path, output))
        _refuse_foreign_files(output)


def _check_nesting(source: PurePath, output: PurePath, source_shown: str, output_shown: str) -> None:
    if source == output:
        raise ConfigError(
            f"output.path is source.path ({output_shown}): the dataset would lie among the videos. Give another place, "
            f"for instance output.path={_beside(output_shown, output)}."
        )
    if output in source.parents:
        raise ConfigError(
            f"source.path ({source_shown}) lies inside output.path ({output_shown}): what a run writes, merges and "
            "deletes there would be around the videos. Give a place beside the source, for instance "
            f"output.path={_beside(source_shown, source)}."
        )


def _beside(shown: str, place: PurePath) -> str:
    """Return the name of an output beside a place; paths have lost the double slash of URIs."""
    scheme, separator, rest = shown.partition("://")
    beside = f"{place.name}-landmarks"
    return f"{scheme}://{rest.rstrip('/').rpartition('/')[0]}/{beside}" if separator else str(place.parent / beside)


def _as_path(location: str) -> PurePosixPath:
    """Return a location as a path that equals those of its other spellings: `s3a://` and `S3://` are `s3://`."""
    scheme, separator, place = location.partition("://")
    return PurePosixPath(f"{scheme.lower().replace('s3a', 's3')}{separator}{place}")


def _refuse_foreign_objects(storage: ObjectStorage) -> None:
    try:
        storage.read(paths.IDENTITY)
    except FileNotFoundError:
        found = (name for name in storage.top_level() if not name.startswith("."))
        foreign = list(islice((name for name in found if _is_foreign_object(storage, name)), _NAMES_SHOWN + 1))
        if foreign:
            raise OutputError(_foreign(storage.root, foreign, f"{storage.root}/landmarks")) from None


def _is_foreign_object(storage: ObjectStorage, name: str) -> bool:
    if name == paths.DATA:
        # In pages, until one is not: a large dataset has thousands of data files.
        inner = (file.name.removeprefix(f"{name}/").partition("/")[0] for file in storage.list(name))
        return not all(map(_is_own_in_data, inner))
    return name not in paths.TOP_LEVEL


def _refuse_foreign_files(output: Path) -> None:
    try:
        if not output.is_dir() or (output / paths.IDENTITY).exists():
            return
        with os.scandir(output) as entries:
            foreign = list(islice((entry.name for entry in entries if _is_foreign(entry)), 1000))
    except OSError as error:
        raise OutputError(f"{output} (output.path) cannot be listed: {error.strerror}.") from None
    if foreign:
        raise OutputError(_foreign(str(output), sorted(foreign), str(output / "landmarks")))


def _foreign(output: str, names: Sequence[str], better: str) -> str:
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return (
        f"{output} (output.path) is not a dataset and holds other files: {', '.join(names[:_NAMES_SHOWN])}{more}. Give "
        f"an empty folder or one that is not there yet, for instance output.path={better}."
    )


def _is_foreign(entry: os.DirEntry[str]) -> bool:
    """Return whether no run wrote this; a run's own files may be there although `dataset.json` is lost."""
    if entry.name.startswith(".") or entry.name in _FILE_SYSTEM_NAMES:
        return False
    if entry.name == paths.DATA and entry.is_dir():
        with os.scandir(entry.path) as entries:
            return not all(_is_own_in_data(inner.name) for inner in entries)
    return entry.name not in paths.TOP_LEVEL


def _is_own_in_data(name: str) -> bool:
    """Whether a file or folder in `data` may be a run's: a data file, or a split of an earlier version."""
    return name.startswith(("split=", ".")) or paths.is_data_file_name(f"{paths.DATA}/{name}")


def _shown(given: str, resolved: Path) -> str:
    return given if given == str(resolved) else f"{given}, which is {resolved}"
