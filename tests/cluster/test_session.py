from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from phoenix_ray.cluster.session import RaySession, _start_here, handlers_kept, stop_on_signals
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request_with_its_exit_code(number: signal.Signals, code: int) -> None:
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.exit_code == code


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_are_heard_again_after_a_library_took_them() -> None:
    with stop_on_signals() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.exit_code == 143


def test_a_second_signal_leaves_at_once() -> None:
    program = (
        "import os, signal\nfrom phoenix_ray.cluster.session import stop_on_signals\n"
        "with stop_on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('draining', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stdout == "draining\n"


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_raises_where_a_program_goes_on(number: signal.Signals, raised: type[BaseException]) -> None:
    def interrupt_twice() -> None:
        with stop_on_signals(ends_process=False) as stop:
            os.kill(os.getpid(), number)
            assert stop
            os.kill(os.getpid(), number)
            time.sleep(5)

    before = signal.getsignal(number)
    with pytest.raises(raised):
        interrupt_twice()
    assert signal.getsignal(number) == before


def test_a_thread_takes_no_signals_and_works_without() -> None:
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with handlers_kept(), stop_on_signals() as stop:
            stop.listen()
            assert signal.getsignal(signal.SIGINT) == before
            assert not stop

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_a_ray_of_this_process_is_joined_and_left_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(get_runtime_context=lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"))
    said: list[str] = []
    ended: list[object] = []
    for name, function in {
        "is_initialized": lambda: True,
        "get_runtime_context": fake.get_runtime_context,
        "nodes": lambda: [{"Alive": True}],
        "cluster_resources": lambda: {"CPU": 3.0},
        "shutdown": lambda: ended.append(1),
        "init": lambda **_: pytest.fail("a second Ray was started"),
    }.items():
        monkeypatch.setattr(f"phoenix_ray.cluster.session.ray.{name}", function)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    for address in ("", "auto", "10.0.0.1:6379", "localhost:6379"):
        with RaySession(ClusterSettings(address=address), said.append) as session:
            cluster = session.cluster()
        assert cluster.resources == {"CPU": 3.0}
        assert not cluster.is_local
    assert not ended
    assert "the cluster of this process, 1 node: 3 CPU, 0 GPU" in said[0]
    with (
        pytest.raises(ClusterError, match=r"connected to the Ray at 10\.0\.0\.1:6379.*asks for 10\.0\.0\.9:1"),
        RaySession(ClusterSettings(address="10.0.0.9:1"), said.append) as session,
    ):
        session.cluster()


def test_a_session_leaves_environment_and_handlers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray demands a token of later clusters by a variable, and takes SIGTERM."""

    def init(**_: object) -> None:
        os.environ["RAY_AUTH_MODE"] = "token"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("phoenix_ray.cluster.session.ray.init", init)
    monkeypatch.setattr("phoenix_ray.cluster.session.ray.nodes", list)
    monkeypatch.setattr("phoenix_ray.cluster.session.ray.cluster_resources", dict)
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with RaySession(ClusterSettings(), lambda line: None) as session:
        assert session.cluster().is_local
        assert os.environ["RAY_AUTH_MODE"] == "token"
    assert dict(os.environ) == before
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_ray_that_does_not_start_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def init(**words: object) -> None:
        asked.append(words["address"])
        if len(asked) == 1:
            raise Exception("Failed to start the dashboard")

    monkeypatch.setattr("phoenix_ray.cluster.session.ray.init", init)
    _start_here()
    assert asked == ["local", "local"]


def test_a_ray_that_does_not_start_in_time_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("phoenix_ray.cluster.session.ray.init", init)
    with (
        pytest.raises(ClusterError, match=r"cannot be started .* timed out during startup.*cluster\.address"),
        RaySession(ClusterSettings(), lambda line: None) as session,
    ):
        session.resources()


@pytest.mark.parametrize(
    ("address", "mode", "named", "not_named"),
    [
        ("10.0.0.1:6379", "", ["RAY_AUTH_MODE=token is set", "RAY_AUTH_TOKEN_PATH"], "ray job submit"),
        ("10.0.0.1:6379", "token", ["another token than RAY_AUTH_TOKEN"], "RAY_AUTH_MODE"),
        ("ray://10.0.0.1:10001", "", ["RAY_AUTH_MODE=token is set", "`ray job submit`"], "another token"),
    ],
)
def test_a_cluster_that_does_not_answer_may_want_a_token(
    monkeypatch: pytest.MonkeyPatch, address: str, mode: str, named: list[str], not_named: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("phoenix_ray.cluster.session._check_reachable", refuse)
    with pytest.raises(ClusterError) as raised, RaySession(ClusterSettings(address=address), say=print) as session:
        session.resources()
    for part in named:
        assert part in str(raised.value)
    assert not_named not in str(raised.value)
