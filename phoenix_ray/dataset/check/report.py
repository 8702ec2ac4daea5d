"""What `phoenix-ray check` says: a report for people, the same for programs, and an exit code."""

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
from phoenix_ray.models.kernels import describe_mixture
from phoenix_ray.text import printable_line

# Findings of one kind that are shown to people.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of a check, or of a repair and the check after it.

    Attributes:
        root: The dataset.
        inspection: What is there; after a repair, what is there now.
        findings: What is wrong with it, of the inspection and of the comparison with a source.
        repaired: What was wrong before the repair.
        repair: What the repair did, None where there was none.
    """

    root: str
    inspection: DatasetCheck
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    repair: Repair | None = None

    @property
    def to_compute(self) -> tuple[str, ...]:
        """Videos that miss frames, and files whose rows a repair took out: what the next run computes."""
        taken_out = {finding.subject for finding in of_kinds(self.repaired, ("damaged", "lost"))}
        rows = {name for name in taken_out if name.startswith((f"{paths.DATA}/", f"{paths.PARTITIONS}/"))}
        rows -= set(self.repair.restored if self.repair else ())
        return (*sorted(rows), *(finding.subject for finding in of_kinds(self.findings, TO_COMPUTE)))

    @property
    def kernels(self) -> dict[str, int]:
        """What computed the rows (`models.kernels`) → frames."""
        tallies = [self.inspection.manifest.tally]
        tallies += [check.info.tally for check in self.inspection.partitions if check.info is not None]
        return dict(total(tallies).kernels)

    @property
    def exit_code(self) -> int:
        """8 when something needs repair, 3 when a video is to be computed or cannot be opened, 0 otherwise."""
        if of_kinds(self.findings, TO_REPAIR) and not self._awaits_identity:
            return EXIT_DAMAGED
        incomplete = self.to_compute or self._awaits_identity or of_kinds(self.findings, ["unopenable"])
        return EXIT_INCOMPLETE if incomplete else EXIT_OK

    def to_text(self) -> str:
        """Return the report for people, with nothing in it that a terminal obeys."""
        lines = [f"{self.root}: {self._contents()}"]
        if self.repair is not None:
            lines += [*_listing("Found before the repair", self.repaired), *self._repair_lines(self.repair)]
        lines += _listing("Found now" if self.repair else "Found", self.findings)
        lines += describe_mixture(self.kernels)
        lines.append(self._verdict())
        return "\n".join(map(printable_line, lines))

    def to_json(self) -> str:
        """Return the report for programs."""
        tally = self.inspection.manifest.tally
        tree = {
            "root": self.root,
            "exit_code": self.exit_code,
            "data_files": len(self.inspection.data_files),
            "partitions": len(self.inspection.partitions),
            "bytes": self.inspection.bytes_read,
            "seconds": self.inspection.seconds,
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
        inspection = self.inspection
        rate = inspection.bytes_read / 1e6 / inspection.seconds if inspection.seconds else 0.0
        return (
            f"{len(inspection.data_files):,} data files, {len(inspection.partitions):,} partitions, "
            f"{inspection.bytes_read / 1e6:,.1f} MB read in {inspection.seconds:,.1f} s ({rate:,.0f} MB/s)"
        )

    def _repair_lines(self, repair: Repair) -> list[str]:
        told = [
            (f"moved to {repair.quarantine}", repair.quarantined),
            ("put back", repair.restored),
            ("written anew with the sound videos of a damaged file", repair.rewritten),
            ("removed", repair.removed),
        ]
        return [f"{what}: {name}" for what, names in told for name in names]

    def _verdict(self) -> str:
        command = f"`phoenix-ray run … output.path={shlex.quote(self.root)}` with the settings it was begun with"
        if self._awaits_identity:
            return f"To finish: {command} writes {paths.IDENTITY} again; check again after it."
        if of_kinds(self.findings, TO_REPAIR):
            return f"Not whole. To mend it: `phoenix-ray check {shlex.quote(self.root)} --repair`"
        if self.to_compute:
            return f"Sound, not complete. To finish: {command} computes what is missing."
        if unopenable := of_kinds(self.findings, ["unopenable"]):
            videos = f"{len(unopenable):,} video{'s' * (len(unopenable) != 1)}"
            them = "it" if len(unopenable) == 1 else "them"
            return (
                f"Sound, not complete: the source has {videos} that cannot be opened. Replace or repair {them} there; "
                f"then {command} computes what is missing."
            )
        digest = digest_text(self.inspection.manifest.tally.digest)
        return f"Whole: every file is what was written. Landmark digest of the data files: {digest}"


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
