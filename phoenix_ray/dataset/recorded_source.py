"""The source a dataset was computed from, opened again: where it lay then, or where the user says it lies now."""

from __future__ import annotations

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Source
from phoenix_ray.sources.registry import open_source


def open_recorded_source(settings: SourceSettings, recorded: str) -> Source:
    """Return the source at `settings.path`.

    Args:
        settings: With an empty path, the source is looked for where the dataset says it lay.
        recorded: Where that is (`DatasetIdentity.source_root`); empty where it is not known.

    Raises:
        SourceError: It is not there. Where the user named no other place, the message says how to.
    """
    path = settings.path or recorded
    if not path and settings.kind not in ("sample", "synthetic"):
        raise SourceError("The dataset does not say where its source lies: name the place with --source PATH.")
    try:
        return open_source(settings.model_copy(update={"path": path}))
    except SourceError as error:
        if path != recorded:
            raise
        raise SourceError(
            f"{error} The dataset was computed from {recorded}. If its source has moved, say where it is now: "
            "--source NEWPATH"
        ) from None
