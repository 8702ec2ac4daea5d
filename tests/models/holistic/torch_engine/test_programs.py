from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.torch_engine.programs import Programs  # noqa: E402 - needs torch
from tests.models.holistic.torch_engine.late_queue import LateQueue  # noqa: E402


def add(total: Any, number: int) -> Callable[[], None]:
    return lambda: total.add_(number)


def test_each_work_is_done_once_a_call_whether_it_is_captured_or_not() -> None:
    programs, total = Programs(queue := LateQueue()), torch.zeros(())
    with queue:
        for number in (1, 10, 1, 10, 1):
            programs.run(number, add(total, number))
        queue.wait()
    assert total.item() == 23
    assert len(queue.programs) == 2


def test_the_program_that_was_not_used_for_longest_goes_and_no_other_memory_comes() -> None:
    programs, total = Programs(queue := LateQueue(), most=2), torch.zeros(())
    with queue:
        for number in (1, 2, 1, 3, 1, 2):
            programs.run(number, add(total, number))
        queue.wait()
    assert total.item() == 10
    first, second, third, again = queue.programs
    assert [program.was_reset for program in (first, second, third, again)] == [False, True, True, False]
    assert queue.pools == 1


def test_work_that_fails_is_not_captured_and_may_succeed_later() -> None:
    programs, total = Programs(queue := LateQueue()), torch.zeros(())

    def refuse() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with queue:
        with pytest.raises(torch.OutOfMemoryError):
            programs.run(1, refuse)
        assert queue.programs == []
        programs.run(1, add(total, 1))
        queue.wait()
    assert total.item() == 1
    assert programs.are_captured
    assert programs.take_events() == ()


def test_forgotten_programs_are_captured_anew_in_other_memory() -> None:
    programs, total = Programs(queue := LateQueue()), torch.zeros(())
    with queue:
        programs.run(1, add(total, 1))
        programs.forget()
        programs.run(1, add(total, 1))
        programs.run(1, add(total, 1))
        queue.wait()
    assert total.item() == 3
    assert queue.pools == 2
    assert [program.was_reset for program in queue.programs] == [True, False]
