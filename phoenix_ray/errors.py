"""Errors that a user can meet, and the exit code of each.

Every message names the thing that is wrong and the way out. The command line prints it without a traceback and exits
with `exit_code`; `docs/cli.md` lists the codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_INTERNAL = 1
# Two things that were compared differ, as with `diff` and `cmp`.
EXIT_DIFFERENT = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_SOURCE = 4
EXIT_MODEL = 5
EXIT_OUTPUT = 6
EXIT_CLUSTER = 7
EXIT_DAMAGED = 8
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class PhoenixRayError(Exception):
    """Base of every error that the user sees as one readable message.

    Attributes:
        exit_code: The exit code of the command line.
        closing_lines: Lines that the command line prints after the message.
    """

    exit_code = EXIT_INTERNAL
    closing_lines: tuple[str, ...] = ()


class ConfigError(PhoenixRayError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    exit_code = EXIT_USAGE


class MissingExtraError(PhoenixRayError):
    """An optional feature needs packages that are not installed."""

    exit_code = EXIT_USAGE

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra [{extra}]: pip install 'phoenix-ray[{extra}]'")


class MissingPackagesError(PhoenixRayError):
    """Packages that a command or a method needs are not installed."""

    exit_code = EXIT_USAGE


class SourceError(PhoenixRayError):
    """The source as a whole cannot be read (a single bad video or frame is recorded, never raised)."""

    exit_code = EXIT_SOURCE


class FramesError(SourceError, ValueError):
    """Arrays that are given as the frames of a video are not RGB pictures of uint8."""


class ModelError(PhoenixRayError):
    """A model cannot be loaded: its weights are missing or damaged, or its engine is not available."""

    exit_code = EXIT_MODEL


class DeviceLostError(ModelError):
    """A process cannot use its GPU any more: everything that it computes after this fails too."""


class OutputError(PhoenixRayError):
    """The output cannot be read or written, or is not a dataset that this run may continue."""

    exit_code = EXIT_OUTPUT


class NewerVersionError(OutputError):
    """A newer version of phoenix_ray wrote the dataset, and only that version can read it."""


class FingerprintMismatchError(OutputError):
    """The dataset was computed with other settings than those given now."""


class ClusterError(PhoenixRayError):
    """Ray cannot be reached, or cannot start a single worker."""

    exit_code = EXIT_CLUSTER


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the most similar known word, or an empty string if no word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
