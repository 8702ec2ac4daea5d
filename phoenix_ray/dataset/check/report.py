"""The report of `phoenix-ray check` as text and as JSON, and its exit code."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import DatasetCheck
from phoenix_ray.dataset.check.files import MEANINGS, TO_COMPUTE, TO_REPAIR, Finding, of_kinds
from phoenix_ray.dataset.check.repair import Repair
from phoenix_ray.dataset.tally import digest_text, total
from phoenix_ray.errors import EXIT_DAMAGED, EXIT_INCOMPLETE, EXIT_OK
from phoenix_ray.models.provenance import describe_mixture
from phoenix_ray.text import counted, printable_line

# Findings of a kind that the text lists; JSON has all of them.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of a check, or of a repair and the check after it.

    Attributes:
        root: The dataset.
        check: The check; after a repair, the check that followed it.
        findings: What is wrong with the dataset, including what the comparison with a source found.
        repaired: What was wrong before the repair.
        repair: What the repair did; None where there was none.
    """

    root: str
    check: DatasetCheck
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    repair: Repair | None = None

    @property
    def to_compute(self) -> tuple[str, ...]:
        """What the next run computes: videos that lack frames, and files whose rows a repair took out."""
        taken_out = {finding.subject for finding in of_kinds(self.repaired, ("damaged", "lost"))}
        rows = {name for name in taken_out if name.startswith((f"{paths.DATA}/", f"{paths.PARTITIONS}/"))}
        rows -= set(self.repair.restored if self.repair else ())
        return (*sorted(rows), *(finding.subject for finding in of_kinds(self.findings, TO_COMPUTE)))

    @property
    def kernels(self) -> dict[str, int]:
        """What computed the rows (`models.provenance`) → frames."""
        tallies = [self.check.manifest.tally]
        tallies += [partition.info.tally for partition in self.check.partitions if partition.info is not None]
        return dict(total(tallies).kernels)

    @property
    def is_empty(self) -> bool:
        """Whether no frame is committed: a run has begun the dataset, and nothing more."""
        partitions = any(partition.info is not None for partition in self.check.partitions)
        return not partitions and not self.check.manifest.tally.rows

    @property
    def exit_code(self) -> int:
        """8 when something needs repair, 3 when a frame is to be computed or a video cannot be opened, 0 otherwise."""
        if of_kinds(self.findings, TO_REPAIR) and not self._awaits_identity:
            return EXIT_DAMAGED
        incomplete = (
            self.to_compute or self._awaits_identity or of_kinds(self.findings, ["unopenable"]) or self.is_empty
        )
        return EXIT_INCOMPLETE if incomplete else EXIT_OK

    def to_text(self) -> str:
        """Return the report as text, with control characters escaped."""
        lines = [f"{self.root}: {self._contents()}"]
        if self.repair is not None:
            lines += [*_listing("Found before the repair", self.repaired), *self._repair_lines(self.repair)]
        lines += _listing("Found now" if self.repair else "Found", self.findings)
        lines += describe_mixture(self.kernels)
        lines.append(self._verdict())
        return "\n".join(map(printable_line, lines))

    def to_json(self) -> str:
        """Return the report as JSON."""
        tally = self.check.manifest.tally
        tree = {
            "root": self.root,
            "exit_code": self.exit_code,
            "data_files": len(self.check.data_files),
            "partitions": len(self.check.partitions),
            "bytes": self.check.bytes_read,
            "seconds": self.check.seconds,
            "compacted_rows": tally.rows,
            "compacted_digest": digest_text(tally.digest),
            "kernels": self.kernels,
            "findings": [asdict(finding) for finding in self.findings],
            "repaired": [asdict(finding) for finding in self.repaired],
            "repair": asdict(self.repair) if self.repair else None,
            "to_compute": self.to_compute,
        }
        return json.dumps(tree, indent=2)

    @property
    def _awaits_identity(self) -> bool:
        return self.repair is not None and paths.IDENTITY in self.repair.quarantined

    def _contents(self) -> str:
        check = self.check
        rate = check.bytes_read / 1e6 / check.seconds if check.seconds else 0.0
        return (
            f"{counted(len(check.data_files), 'data file')}, {counted(len(check.partitions), 'partition')}, "
            f"{check.bytes_read / 1e6:,.1f} MB read in {check.seconds:,.1f} s ({rate:,.0f} MB/s)"
        )

    def _repair_lines(self, repair: Repair) -> list[str]:
        actions = [
            (f"moved to {repair.quarantine}", repair.quarantined),
            ("put back", repair.restored),
            ("written again with the sound videos of a damaged file", repair.rewritten),
            ("removed", repair.removed),
        ]
        return [f"{action}: {name}" for action, names in actions for name in names]

    def _verdict(self) -> str:
        command = f"`phoenix-ray run … output.path={shlex.quote(self.root)}` with the settings of its first run"
        if self._awaits_identity:
            return f"To finish: {command} writes {paths.IDENTITY} again; check again after it."
        if of_kinds(self.findings, TO_REPAIR):
            return f"Not whole. To repair it: `phoenix-ray check {shlex.quote(self.root)} --repair`"
        if self.to_compute:
            return f"Sound, not complete. To finish: {command} computes what is missing."
        if unopenable := of_kinds(self.findings, ["unopenable"]):
            videos = counted(len(unopenable), "video")
            them = "it" if len(unopenable) == 1 else "them"
            return (
                f"Sound, not complete: the source has {videos} that cannot be opened. Replace or repair {them} there; "
                f"then {command} computes what is missing."
            )
        if self.is_empty:
            return f"Sound, not complete: it holds no frame yet. To finish: {command} computes what is missing."
        whole = "Whole: every file is what was written."
        if not self.check.data_files:
            return f"{whole} Nothing is merged into data files yet: `phoenix-ray compact` does it."
        return f"{whole} Landmark digest of the data files: {digest_text(self.check.manifest.tally.digest)}"


def _listing(title: str, findings: tuple[Finding, ...]) -> list[str]:
    lines: list[str] = []
    for kind, meaning in MEANINGS.items():
        found = of_kinds(findings, [kind])
        if found:
            lines.append(f"{title}: {len(found):,} {kind} ({meaning})")
            lines += [f"  {finding.subject}: {finding.detail}" for finding in found[:_SHOWN]]
            if len(found) > _SHOWN:
                lines.append(f"  … and {len(found) - _SHOWN:,} more (--json names them all)")
    return lines
