from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.s3.gateway import Gateway, open_gateway, why_not


@pytest.fixture(scope="session")
def gateway(_asked_for: None) -> Iterator[Gateway]:
    """A real S3 gateway of its own, for all tests of a session."""
    if reason := why_not():
        pytest.skip(reason)
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="rgw-", dir="/tmp") as lab, open_gateway(Path(lab)) as running:
        yield running
