from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from phoenix_ray.cluster.stop import stop_on_signals


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
        "import os, signal\nfrom phoenix_ray.cluster.stop import stop_on_signals\n"
        "with stop_on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('draining', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print('never', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stdout == "draining\n"
