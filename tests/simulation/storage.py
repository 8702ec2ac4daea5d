"""A storage whose verbs are steps of a scheduler, and processes that are run up to any of these steps.

A process of the simulation is the package's own code. It is deterministic but for what the storage answers, so that
**its next verb is a function of the answers so far**. `Program.advance` therefore runs the code once for each distinct
sequence of answers, and a scheduler that tries millions of schedules looks the verb up in all other cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple
from unittest.mock import patch

import pyarrow as pa

from phoenix_ray.dataset.storage import StoredFile

Verb = str
# What a storage answers: something that can be compared and hashed.
Answer = Any
Files = dict[str, int]

MUTATING = frozenset({"write", "create", "delete"})


class Step(NamedTuple):
    """A verb that a process asks of the storage."""

    verb: Verb
    name: str
    content: int = -1

    def __str__(self) -> str:
        return f"{self.verb} {self.name or '/'}"


class Contents:
    """Contents of files as small numbers, so that states of a storage can be compared at once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.of: list[bytes] = []

    def number(self, content: bytes) -> int:
        number = self._numbers.setdefault(content, len(self.of))
        if number == len(self.of):
            self.of.append(content)
        return number


CONTENTS = Contents()


class SimulatedStorage:
    """Asks `ask` for every verb, once for each file system call that another process may come in between.

    Args:
        ask: Answers a step.
        torn: Whether a listing takes several steps: one folder is scanned after the other, and of what comes and goes
            while a folder is scanned nothing is seen.
    """

    root = "simulated"

    def __init__(self, ask: Callable[[Step], Answer], torn: bool = False) -> None:
        self._ask = ask
        self._torn = torn

    def read(self, name: str) -> bytes:
        return CONTENTS.of[self._find(Step("read", name))]

    def open(self, name: str) -> pa.NativeFile:
        return pa.BufferReader(CONTENTS.of[self._find(Step("open", name))])

    def list(self, folder: str) -> Iterator[StoredFile]:
        found: list[tuple[str, int]] = []
        if self._torn:
            for below in self._ask(Step("folders", folder)):
                before = self._ask(Step("scan", below))
                after = dict(self._ask(Step("scan", below)))
                found += [(name, after[name]) for name, _ in before if name in after]
        else:
            found += self._ask(Step("list", folder))
        return iter([StoredFile(name, len(CONTENTS.of[content]), 1.0) for name, content in found])

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        self._ask(Step("write", name, CONTENTS.number(bytes(content))))

    def create(self, name: str, content: bytes) -> bool:
        made: bool = self._ask(Step("create", name, CONTENTS.number(content)))
        return made

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Replace as a folder does: in three steps."""
        if self._ask(Step("read", name)) != CONTENTS.number(old):
            return False
        self.write(name, new)
        return bool(self._ask(Step("read", name)) == CONTENTS.number(new))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        stream = BytesIO()
        yield stream
        self.write(name, stream.getvalue())

    def delete(self, name: str) -> None:
        self._ask(Step("delete", name))

    def irregular(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield nothing: here all names are files."""
        return iter(())

    def prune(self, folder: str) -> None:
        """Do nothing: here all names are files."""

    def move(self, name: str, to: str) -> None:
        """Fail: what is not irregular is never moved."""
        raise AssertionError(f"{name} was to be moved to {to}")

    def _find(self, step: Step) -> int:
        content: int | None = self._ask(step)
        if content is None:
            raise FileNotFoundError(step.name)
        return content


def take(files: Files, step: Step) -> tuple[Files, Answer]:
    """Return what a storage holds after a step, and what it answers."""
    name = step.name
    match step.verb:
        case "read" | "open":
            return files, files.get(name)
        case "list":
            return files, tuple(sorted(item for item in files.items() if _is_below(item[0], name)))
        case "folders":
            return files, tuple(sorted({one.rpartition("/")[0] for one in files if _is_below(one, name)}))
        case "scan":
            return files, tuple(sorted(item for item in files.items() if item[0].rpartition("/")[0] == name))
        case "create" if name in files:
            return files, False
        case "create":
            return {**files, name: step.content}, True
        case "write":
            return (files if files.get(name) == step.content else {**files, name: step.content}), None
        case "delete":
            return {one: content for one, content in files.items() if one != name}, None
        case _:
            raise ValueError(step.verb)


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def alone(files: Files) -> tuple[SimulatedStorage, Files]:
    """Return a storage that one process has for itself, and the files in it, which change as it is used."""
    held = dict(files)

    def ask(step: Step) -> Answer:
        after, answer = take(held, step)
        if after is not held:
            held.clear()
            held.update(after)
        return answer

    return SimulatedStorage(ask), held


class Ended(NamedTuple):
    """How a process ended: with a value, or with an exception."""

    value: Any
    error: Exception | None = None


class Program:
    """The code of a process, as an automaton: a node is a sequence of answers, and has the step that follows on it.

    Args:
        name: Names the process, and the files that it makes.
        code: What it does with a storage.
        torn: Whether its listings take several steps.

    Attributes:
        runs: How often the code was run.
    """

    def __init__(self, name: str, code: Callable[[SimulatedStorage], Any], torn: bool = False) -> None:
        self.name = name
        self._code = code
        self._torn = torn
        self._nodes: list[Step | Ended | None] = [None]
        self._ways: list[tuple[int, Answer]] = [(0, None)]
        self._next: dict[tuple[int, Answer], int] = {}
        self.runs = 0

    def begin(self, files: Files) -> int:
        """Return the node before the first step."""
        if self._nodes[0] is None:
            self._run([], files)
        return 0

    def at(self, node: int) -> Step | Ended:
        """Return the step that a process asks for at a node, or how it has ended."""
        found = self._nodes[node]
        assert found is not None
        return found

    def advance(self, node: int, answer: Answer, files: Files) -> int:
        """Return the node after an answer.

        Args:
            node: Where the process is.
            answer: To the step there.
            files: What the storage holds now: code that has to be run goes on as if it were alone from here, since
                that is the first of what will be asked for.
        """
        known = self._next.get((node, answer))
        if known is None:
            answers = [answer]
            while node:
                node, earlier = self._ways[node]
                answers.append(earlier)
            self._run(answers[::-1], files)
            known = 0
            for one in answers[::-1]:
                known = self._next[known, one]
        return known

    def _run(self, answers: list[Answer], files: Files) -> None:
        self.runs += 1
        held = files
        position = 0
        node = 0

        def ask(step: Step) -> Answer:
            nonlocal held, position, node
            self._note(node, step)
            if position < len(answers):
                answer = answers[position]
            else:
                held, answer = take(held, step)
            position += 1
            node = self._follow(node, answer)
            return answer

        names = (hashlib.sha256(f"{self.name} {number}".encode()).hexdigest()[:32] for number in range(1000))
        with patch("phoenix_ray.dataset.compaction.secrets.token_hex", lambda _: next(names)):
            try:
                ended = Ended(self._code(SimulatedStorage(ask, self._torn)))
            except Exception as error:
                ended = Ended(None, error)
        self._note(node, ended)

    def _note(self, node: int, found: Step | Ended) -> None:
        known = self._nodes[node]
        if known is None:
            self._nodes[node] = found
        elif isinstance(found, Step) and known != found:
            raise AssertionError(f"{self.name} is not deterministic: {found}, then {known}")

    def _follow(self, node: int, answer: Answer) -> int:
        known = self._next.get((node, answer))
        if known is None:
            known = self._next[node, answer] = len(self._nodes)
            self._ways.append((node, answer))
            self._nodes.append(None)
        return known
