from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.parquet import DamagedFileError, open_parquet, open_writer, read_footer, write_footer
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.dataset.storage import LocalStorage
from tests.dataset.made_up import LAYOUT, SETTINGS


def with_footer(content: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    with open_writer(sink, landmark_schema(LAYOUT), LAYOUT, SETTINGS) as writer:
        write_footer(writer, content)
    return sink.getvalue()


def footer_of(storage: LocalStorage) -> dict[str, Any]:
    with open_parquet(storage, "file") as parquet:
        return read_footer("file", parquet)


def test_what_a_footer_says_is_read_back(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("file", with_footer({"text": "ü\0\n" * 100_000, "number": 0.1}))
    assert footer_of(storage) == {"text": "ü\0\n" * 100_000, "number": 0.1}


def test_a_parquet_file_of_somebody_else_is_foreign(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    pq.write_table(pa.table({"phoenix_ray": [1]}), tmp_path / "file")
    with pytest.raises(DamagedFileError) as caught:
        footer_of(storage)
    assert caught.value.damage.foreign


@given(st.data())
def test_a_damaged_footer_gives_its_content_or_is_reported(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(with_footer({"text": "content"}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    storage = LocalStorage(str(tmp_path_factory.mktemp("footer")))
    storage.write("file", bytes(content))
    with suppress(DamagedFileError):
        assert isinstance(footer_of(storage), dict)


def test_a_column_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    pq.write_table(pa.table({"first_row": [1]}), tmp_path / "file.parquet")
    content = (tmp_path / "file.parquet").read_bytes()
    (tmp_path / "file.parquet").write_bytes(content.replace(b"first_row", b"\xddirst_row"))
    with (
        pytest.raises(DamagedFileError, match=r"file\.parquet"),
        open_parquet(LocalStorage(str(tmp_path)), "file.parquet"),
    ):
        pass
