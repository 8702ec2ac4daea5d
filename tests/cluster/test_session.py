from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from phoenix_ray.cluster.session import RaySession, _start_here, stop_on_signals
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
