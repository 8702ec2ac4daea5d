"""Progress in a notebook, as far as it needs no kernel; tests/docs/test_notebook.py runs one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from phoenix_ray.cluster.notebook import NotebookDisplay, is_notebook
from phoenix_ray.cluster.progress import Meter
from phoenix_ray.cluster.screen import Screen

Shown = list[tuple[str, object]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What is displayed, and what replaces it."""
    shown: Shown = []

    class Handle:
        def update(self, thing: object) -> None:
            shown.append(("update", thing))

    def display(thing: object, display_id: bool = False) -> Handle | None:
        shown.append(("display", thing))
        return Handle() if display_id else None

    monkeypatch.setattr("IPython.display.display", display)
    return shown


def html_of(thing: object) -> str:
    return str(thing._repr_html_())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("shell", "expected"), [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)]
)
def test_a_notebook_is_a_shell_with_a_kernel(
    monkeypatch: pytest.MonkeyPatch, shell: object | None, expected: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_notebook() is expected


def test_python_without_ipython_is_not_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()


def test_the_bar_moves_in_place(shown: Shown) -> None:
    display, meter = NotebookDisplay(), Meter("r", 40, 0)
    display.show(meter.status(2, 2, 2))
    meter.add(30)
    display.show(meter.status(0, 1, 2))
    meter.failures = 1
    display.close(meter.status(0, 0, 2))
    assert [action for action, _ in shown] == ["display", "update", "update"]
    assert 'max="40" value="0"' in html_of(shown[0][1])
    last = html_of(shown[-1][1])
    assert 'max="40" value="30"' in last
    assert "30 of 40 frames" in last
    assert "1 failed" in last
    assert "30/40 frames" in repr(shown[-1][1])


def test_a_run_with_nothing_to_do_leaves_no_bar(shown: Shown) -> None:
    NotebookDisplay().close(Meter("r", 0, 40).status(0, 0, 0))
    assert not shown


def test_messages_are_lines_and_errors_are_coloured(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    Screen("notebook").say("Starting <Ray> \x1b[2J")
    Screen("notebook").open_display(1.0).say("lost <b>", "error")
    said = capsys.readouterr()
    assert said.out == "Starting <Ray> \\x1b[2J\n"
    assert not said.err
    assert html_of(shown[0][1]).endswith("lost &lt;b&gt;</span>")


def test_a_silent_run_shows_nothing(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    screen, status = Screen("none"), Meter("r", 4, 0).status(1, 1, 1)
    screen.say("hello")
    display = screen.open_display(0.0)
    display.show(status)
    display.say("hello", "error")
    display.close(status)
    assert capsys.readouterr() == ("", "")
    assert not shown
