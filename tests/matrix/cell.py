"""One cell: an environment of one Python and one resolution, and all that is tried in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.matrix.demo_digest import Digests
from tests.matrix.environments import Environment, Resolution, StepError
from tests.matrix.wheels import requirements

INSPECT = Path(__file__).with_name("inspect_environment.py")
# Extras that the commands of `EXTRAS` try. torch is tried where it is asked for, mediapipe by `make parity`.
TRIED_EXTRAS = ("export", "plots", "prepare")


@dataclass(slots=True)
class Outcome:
    """What a cell gave.

    Attributes:
        python: Version of the interpreter, as "3.12".
        resolution: Which versions were installed.
        absent: Why nothing was tried; empty where it was.
        versions: Distribution → version.
        passed: Steps that went well, in order.
        failure: The step that failed and why; empty where none did.
        demo: Landmark digests of the demo.
        video: Landmark digests of the video file.
        torch: Landmark digests of the demo by engine torch.
    """

    python: str
    resolution: Resolution
    absent: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    failure: str = ""
    demo: Digests = field(default_factory=dict)
    video: Digests = field(default_factory=dict)
    torch: Digests = field(default_factory=dict)


# What needs an extra: its name → the command that must fail without it, naming it, and work with it. VIDEOS stands
# for a dataset, OUT for an output of the command's own.
EXTRAS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("export", ("export", "VIDEOS", "OUT", "--format", "pose")),
    ("export", ("export", "VIDEOS", "--format", "delta")),
    ("plots", ("stats", "VIDEOS", "--plots", "OUT")),
    ("prepare", ("prepare", "VIDEOS", "OUT", "--smooth", "savitzky_golay")),
)
WITHOUT_TRIAL: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("torch", ("run", "--config", "videos", "source.path=CLIPS", "output.path=OUT", "model.engine=torch")),
    ("mediapipe", ("run", "--config", "videos", "source.path=CLIPS", "output.path=OUT", "model.engine=mediapipe")),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell is made of.

    Attributes:
        version: Of Python, as "3.12".
        environment: Where the wheel goes.
        wheel: The package.
        clips: Folder with one video file.
        pins: Requirements beside the wheel, such as "numpy==2.1.0".
        torch: Whether engine torch is tried as well; installs torch.
    """

    version: str
    environment: Environment
    wheel: Path
    clips: Path
    pins: tuple[str, ...] = ()
    torch: bool = False

    def run(self, interpreter: Path, report: Callable[[str], None]) -> Outcome:
        """Do every step; the first that fails ends the cell."""
        outcome = Outcome(self.version, self.environment.resolution)
        steps: list[tuple[str, Callable[[Outcome], None]]] = [
            ("install", lambda outcome: self._install(interpreter, outcome)),
            ("weights", lambda _: self._try("models", "install")),
            ("help", lambda _: self._try("--help")),
            ("plan", lambda _: self._try("plan", *self._videos())),
            ("video", self._run_video),
            ("missing extras", lambda _: self._miss_extras()),
            ("extras", self._try_extras),
            ("demo", self._run_demo),
        ]
        if self.torch:
            steps.append(("torch", self._run_torch))
        for name, step in steps:
            report(f"Python {self.version}, {self.environment.resolution}: {name}")
            try:
                step(outcome)
            except StepError as error:
                outcome.failure = f"{name}: {error}"
                break
            outcome.passed.append(name)
        return outcome

    def _install(self, interpreter: Path, outcome: Outcome) -> None:
        self.environment.create(interpreter)
        self._install_wheel()
        outcome.versions = self._inspect().versions

    def _install_wheel(self, *extras: str) -> None:
        wanted = [f"{self.wheel}[{','.join(extras)}]", *self.pins]
        if self.environment.resolution == "lowest":
            # uv takes the lowest version of what it is asked for only, and the newest of what that requires.
            for requirement in requirements(self.wheel, self.version, extras):
                requirement.marker = None
                wanted.append(str(requirement))
        self.environment.install(*wanted)

    def _run_video(self, outcome: Outcome) -> None:
        self._try("run", *self._videos())
        outcome.video = self._inspect("videos").digests

    def _run_demo(self, outcome: Outcome) -> None:
        self._try("run", "--config", "demo", "output.path=demo", "model.engine=litert")
        self._try("check", "demo")
        outcome.demo = self._inspect("demo").digests

    def _run_torch(self, outcome: Outcome) -> None:
        self._install_wheel("torch")
        self._try("run", "--config", "demo", "output.path=demo-torch", "model.engine=torch")
        found = self._inspect("demo-torch")
        outcome.torch, outcome.versions = found.digests, found.versions

    def _miss_extras(self) -> None:
        for number, (extra, words) in enumerate((*EXTRAS, *WITHOUT_TRIAL)):
            printed = self.environment.refuse(*self._fill(words, f"missing-{number}"))
            # Long lines are wrapped where the terminal ends.
            if f"phoenix-ray[{extra}]" not in "".join(printed.split()):
                raise StepError(f"{' '.join(words)} does not name the extra [{extra}]:\n{printed[-2000:]}")

    def _try_extras(self, outcome: Outcome) -> None:
        self._install_wheel(*TRIED_EXTRAS)
        outcome.versions = self._inspect().versions
        for number, (_, words) in enumerate(EXTRAS):
            self._try(*self._fill(words, f"extra-{number}"))

    def _videos(self) -> tuple[str, ...]:
        words = ("--config", "videos", f"source.path={self.clips}", "output.path=videos", "model.engine=litert")
        return (*words, "cluster.num_workers=1")

    def _fill(self, words: tuple[str, ...], output: str) -> tuple[str, ...]:
        names = {"VIDEOS": "videos", "CLIPS": str(self.clips), "OUT": output}
        filled = []
        for word in words:
            key, sign, value = word.rpartition("=")
            filled.append(key + sign + names.get(value, value))
        return tuple(filled)

    def _try(self, *words: str) -> None:
        self.environment.phoenix_ray(*words)

    def _inspect(self, *dataset: str) -> _Inspection:
        found = json.loads(self.environment.run_script(INSPECT, *dataset))
        return _Inspection(found["versions"], found["digests"])


@dataclass(frozen=True, slots=True)
class _Inspection:
    versions: dict[str, str]
    digests: dict[str, str]
