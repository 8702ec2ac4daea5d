"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline per example would turn a busy machine into a failure. The same examples each time, so that a failure is the
# fault of a change; `make fuzz` looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

# Without a GPU, kernels run in Triton's interpreter, which is chosen when they are imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


_session = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_session] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave without taking the interpreter down, which crashed once after every test had its verdict.

    Threads of the Ray clusters that were started and ended here may still be in native code then.
    """
    is_parallel_worker = hasattr(config, "workerinput")
    if (session := config.stash.get(_session, None)) is not None and not is_parallel_worker:
        config.get_terminal_writer().flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(session.exitstatus))


# A test that takes more processor time than this, its children's included, is to be marked `slow`, so that `make check`
# leaves it out. Processor time, because a busy machine stretches the clock.
FAST_CPU_SECONDS = 5.0
_LEFT_OUT_OF_CHECK = ("slow", "cluster")
_CPU_SECONDS = "cpu_seconds"
_unmarked: dict[str, float] = {}


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the tests that are slow and not marked so."""
    start = _cpu_seconds()
    try:
        yield
    finally:
        seconds = _cpu_seconds() - start
        if seconds > FAST_CPU_SECONDS and not any(item.get_closest_marker(name) for name in _LEFT_OUT_OF_CHECK):
            item.user_properties.append((_CPU_SECONDS, seconds))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect them; tests may have run in other processes."""
    if report.when == "call":
        for name, seconds in report.user_properties:
            if name == _CPU_SECONDS:
                _unmarked[report.nodeid] = float(str(seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List them. It is no failure: how long a test takes depends on the machine."""
    if _unmarked:
        terminalreporter.section(f"mark as slow: more than {FAST_CPU_SECONDS:g} s of processor time")
        for name, seconds in sorted(_unmarked.items(), key=lambda entry: -entry[1]):
            terminalreporter.line(f"{seconds:6.1f} s  {name}")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample videos; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "samples"
    folder = Path(os.environ.get("PHOENIX_RAY_SAMPLES", default))
    if not folder.is_dir():
        pytest.skip(f"no sample videos at {folder}; set PHOENIX_RAY_SAMPLES to their folder")
    return folder


@pytest.fixture(scope="session")
def phoenix_sample(samples: Path) -> Path:
    """A small dataset in the true PHOENIX-2014-T layout: 6 videos, 267 frames of 210x260."""
    return samples / "phoenix_layout_demo" / "PHOENIX-2014-T"
