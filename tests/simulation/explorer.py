"""Tries every schedule of some processes on one storage, with crashes, and checks what must hold after every step.

States that are reached on several ways are looked at once: what follows depends on the files and on what each process
has been answered, not on the way there. So all schedules are covered, and they can be counted without walking them one
by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from tests.simulation.storage import MUTATING, Ended, Files, Program, Step, take

# How often another process may come in, where schedules are tried at random.
_SWITCH = 0.1

Check = Callable[[Files], str | None]


@dataclass(frozen=True)
class Scenario:
    """Processes that work on one dataset at the same time.

    Attributes:
        name: In a few words.
        files: What lies in the storage at first.
        processes: The programs of each process, the later ones for when it has crashed; then it is gone.
        crashes: How often processes may crash, in all.
        always: Tells what is wrong with what a storage holds after any step.
        finally_: Tells what is wrong with it when every process has ended.
        ending: Tells what is wrong with how a process ended.
    """

    name: str
    files: Files
    processes: Sequence[Sequence[Program]]
    crashes: int
    always: Check
    finally_: Check
    ending: Callable[[Ended], str | None]


class ViolationError(AssertionError):
    """Something does not hold; the message has the schedule."""


@dataclass
class Report:
    """What was explored.

    Attributes:
        scenario: Its name.
        schedules: Different schedules that are covered, from the first step to the last.
        states: States that were looked at.
        runs: How often the code of a process was run.
        seconds: How long it took.
        complete: Whether that is all there is.
    """

    scenario: str
    schedules: int = 0
    states: int = 0
    runs: int = 0
    seconds: float = 0.0
    complete: bool = True

    def __str__(self) -> str:
        extent = "all" if self.complete else "some"
        return (
            f"{self.scenario}: {extent} {self.schedules:,} schedules, {self.states:,} states, "
            f"{self.runs:,} runs of the code, {self.seconds:.1f} s"
        )


class _State(NamedTuple):
    """The storage's number, each process' program and node, and the crashes that are left."""

    storage: int
    places: tuple[tuple[int, int], ...]
    crashes: int


class _Way(NamedTuple):
    """A step that may be next: of which process, in words, and what it leads to."""

    process: int
    label: str
    state: _State


@dataclass
class _Frame:
    state: _State
    label: str
    ways: Iterator[_Way]
    schedules: int = 0


@dataclass
class Explorer:
    """Explores a scenario.

    Args:
        scenario: The processes, and what must hold.
    """

    scenario: Scenario
    _numbers: dict[frozenset[tuple[str, int]], int] = field(default_factory=dict)
    _storages: list[Files] = field(default_factory=list)
    _taken: dict[tuple[int, Step], tuple[int, Any]] = field(default_factory=dict)

    def explore(self, most_states: int | None = None) -> Report:
        """Cover every schedule, or the first ones up to a number of states.

        Raises:
            ViolationError: Something does not hold.
        """
        began = time.monotonic()
        report = Report(self.scenario.name)
        counted: dict[_State, int] = {}
        first = self._first()
        stack = [_Frame(first, "begin", self._ways(first))]
        open_states = {first}
        try:
            while stack:
                frame = stack[-1]
                found = next(frame.ways, None)
                if found is None:
                    stack.pop()
                    counted[frame.state] = frame.schedules or 1
                    open_states.discard(frame.state)
                    if stack:
                        stack[-1].schedules += counted[frame.state]
                    continue
                _, label, state = found
                if state in counted:
                    frame.schedules += counted[state]
                    continue
                assert state not in open_states, "a schedule that comes back to where it was never ends"
                if most_states is not None and len(counted) + len(stack) >= most_states:
                    report.complete = False
                    continue
                open_states.add(state)
                stack.append(_Frame(state, label, self._ways(state)))
        except ViolationError as error:
            raise ViolationError(_told(self.scenario, [frame.label for frame in stack], str(error))) from None
        report.schedules, report.states = counted[first], len(counted)
        return self._finished(report, began)

    def sample(self, seed: int, schedules: int) -> Report:
        """Try some schedules at random: most of the time a process goes on, so that others sleep through a lot.

        Raises:
            ViolationError: Something does not hold; the message names the seed.
        """
        began = time.monotonic()
        report = Report(f"{self.scenario.name} (seed {seed})", complete=False)
        random = Random(seed)
        seen: set[_State] = set()
        tried: set[int] = set()
        for _ in range(schedules):
            state, labels, process = self._first(), ["begin"], -1
            try:
                while ways := list(self._ways(state)):
                    seen.add(state)
                    same = [way for way in ways if way.process == process]
                    process, label, state = random.choice(same if same and random.random() > _SWITCH else ways)
                    labels.append(label)
            except ViolationError as error:
                raise ViolationError(_told(self.scenario, labels, f"{error} (seed {seed})")) from None
            tried.add(hash(tuple(labels)))
        report.schedules, report.states = len(tried), len(seen)
        return self._finished(report, began)

    def _first(self) -> _State:
        storage = self._number(self.scenario.files)
        places = tuple((0, programs[0].begin(self.scenario.files)) for programs in self.scenario.processes)
        return _State(storage, places, self.scenario.crashes)

    def _ways(self, state: _State) -> Iterator[_Way]:
        """Yield what may happen next, and check what must hold."""
        ended = 0
        for index, (which, node) in enumerate(state.places):
            programs = self.scenario.processes[index]
            if which == len(programs):
                ended += 1
                continue
            step = programs[which].at(node)
            if isinstance(step, Ended):
                ended += 1
                if wrong := self.scenario.ending(step):
                    raise ViolationError(f"{programs[which].name}: {wrong}")
                continue
            storage, answer = self._take(state.storage, step)
            place = (which, programs[which].advance(node, answer, self._storages[storage]))
            after = _State(storage, _with(state.places, index, place), state.crashes)
            yield _Way(index, f"{programs[which].name}: {step}", after)
            # A crash between two steps that change nothing is the same as one before them.
            if state.crashes and step.verb in MUTATING:
                again = programs[which + 1 :]
                place = (which + 1, again[0].begin(self._storages[storage]) if again else 0)
                after = _State(storage, _with(state.places, index, place), state.crashes - 1)
                yield _Way(index, f"{programs[which].name}: {step}, and it dies", after)
        if ended == len(state.places) and (wrong := self.scenario.finally_(self._storages[state.storage])):
            raise ViolationError(wrong)

    def _take(self, storage: int, step: Step) -> tuple[int, Any]:
        known = self._taken.get((storage, step))
        if known is None:
            files, answer = take(self._storages[storage], step)
            known = self._taken[storage, step] = (self._number(files), answer)
        return known

    def _number(self, files: Files) -> int:
        """Return the number of what a storage holds; when it is new, check it."""
        key = frozenset(files.items())
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._storages)
            self._storages.append(files)
            if wrong := self.scenario.always(files):
                raise ViolationError(wrong)
        return number

    def _finished(self, report: Report, began: float) -> Report:
        report.runs = sum(program.runs for programs in self.scenario.processes for program in programs)
        report.seconds = time.monotonic() - began
        return report


def _with(places: tuple[tuple[int, int], ...], index: int, place: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return (*places[:index], place, *places[index + 1 :])


def _told(scenario: Scenario, labels: Sequence[str], wrong: str) -> str:
    return "\n  ".join([f"{scenario.name}: {wrong}", *labels])
