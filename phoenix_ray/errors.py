"""Errors a user can meet, and the exit code of each.

Every error names the thing that is wrong and the way out. The command line prints the message without a traceback and
leaves with `exit_code`; `docs/cli.md` lists the codes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_INTERNAL = 1
# What was compared differs, as `diff` and `cmp` leave.
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
        exit_code: What the command line leaves with.
        closing_lines: Lines for the command line to print after the message.
    """

    exit_code = EXIT_INTERNAL
    closing_lines: tuple[str, ...] = ()


class ConfigError(PhoenixRayError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    exit_code = EXIT_USAGE


class MissingExtraError(PhoenixRayError):
    """An optional part was asked for whose packages are not installed."""

    exit_code = EXIT_USAGE

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra [{extra}]: pip install 'phoenix-ray[{extra}]'")


class SourceError(PhoenixRayError):
    """The source as a whole cannot be read (a single bad video or frame is recorded, never raised)."""

    exit_code = EXIT_SOURCE


class ModelError(PhoenixRayError):
    """A model cannot be loaded: weights missing or damaged, engine not available."""

    exit_code = EXIT_MODEL


class OutputError(PhoenixRayError):
    """The output folder cannot be written, or is not what this run may continue."""

    exit_code = EXIT_OUTPUT


class NewerVersionError(OutputError):
    """A newer phoenix_ray wrote the dataset: it is whole, but only that one can read it."""


class FingerprintMismatchError(OutputError):
    """The output was computed with other settings than the ones given now."""


class ClusterError(PhoenixRayError):
    """Ray cannot be reached, or has not a single worker to give."""

    exit_code = EXIT_CLUSTER


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known word, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
