from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.text import (
    counted,
    from_spreadsheet_text,
    printable_line,
    printable_text,
    progress_bar,
    spreadsheet_text,
    without_secrets,
)


@given(st.text(st.characters()))
def test_a_line_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    line = printable_line(text)
    assert not {unicodedata.category(character) for character in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("a\x9b31m", "a\\x9b31m"),
        ("a\r\nfailed: b", "a\\r\\nfailed: b"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("\udcff", "\\udcff"),
        ("für ❤️ 手話 ‌ک", "für ❤️ 手話 ‌ک"),
    ],
)
def test_control_characters_are_escaped_and_letters_stay(text: str, shown: str) -> None:
    assert printable_line(text) == shown


@pytest.mark.parametrize(("number", "shown"), [(0, "0 videos"), (1, "1 video"), (8257, "8,257 videos")])
def test_a_noun_agrees_with_its_number(number: int, shown: str) -> None:
    assert counted(number, "video") == shown


def test_text_keeps_its_lines() -> None:
    assert printable_text("a\n\tb\x1b") == "a\n\tb\\x1b"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://anna:geheim@host/clip.mp4", "https://***@host/clip.mp4"),
        ("/data/https:/anna:geheim@host/clip.mp4", "/data/https:/***@host/clip.mp4"),
        ("s3://KEY:se@cret@bucket/x", "s3://***@bucket/x"),
        ("redis://:geheim@host:6379, and more", "redis://***@host:6379, and more"),
        ("https://host/x?v=1&token=geheim&b=2", "https://host/x?v=1&token=***&b=2"),
        (
            "https://host/x?X-Amz-Signature=ab%2F&X-Amz-Credential=c",
            "https://host/x?X-Amz-Signature=***&X-Amz-Credential=***",
        ),
        ("cannot open 'https://u:p@h/x?sig=1': gone", "cannot open 'https://***@h/x?sig=***': gone"),
        ("https://youtube.com/watch?v=abc", "https://youtube.com/watch?v=abc"),
        ("C:/clips/a@b.mp4 mail@host train/a=b", "C:/clips/a@b.mp4 mail@host train/a=b"),
    ],
)
def test_what_lets_one_in_is_taken_out(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text", ["a:/" * 50_000, "https://" + "@" * 200_000, "?key" * 50_000 + " =", "a:/@" * 50_000, "?" + "=" * 200_000]
)
@pytest.mark.timeout(60)
def test_hostile_text_is_done_in_the_time_of_its_length(text: str) -> None:
    assert without_secrets(text).startswith(text[:1])


@given(
    st.text() | st.builds(lambda start, rest: start + rest, st.sampled_from(["=", "+", "-", "@", "\t", "'"]), st.text())
)
def test_a_cell_is_not_a_formula_and_gives_its_text_back(text: str) -> None:
    cell = spreadsheet_text(text)
    assert from_spreadsheet_text(cell) == text
    if cell[:1] and cell[0] in "=+-@\t\r\n":
        float(cell)


@pytest.mark.parametrize("number", ["-1", "+2.5", "-.5e-3", "7"])
def test_numbers_stay_numbers_in_cells(number: str) -> None:
    assert spreadsheet_text(number) == number


def test_a_progress_bar_counts_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_bar("checking", "files") as show:
        show(3, 7, ", 12 frames")
    out, shown = capsys.readouterr()
    assert out == ""
    assert "3/7" in shown
    assert "files, 12 frames" in shown


def test_a_progress_bar_leaves_a_file_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("checking", "files") as show:
        show(3, 7)
    assert capsys.readouterr() == ("", "")
