"""Fixtures of the sources' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sources.buckets import CountedStore, memory_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountedStore]:
    """A bucket in memory, which `s3://memory` opens."""
    with memory_bucket(monkeypatch) as opened:
        yield opened
