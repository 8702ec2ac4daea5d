"""Whatever a settings file or a word says: settings, or a `ConfigError`."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import Settings
from phoenix_ray.config_files import describe_settings, load
from phoenix_ray.errors import ConfigError
from tests.fuzz.cases import altered, cases, mutations

KEYS = [key for key, *_ in describe_settings(Settings())]
TREE = Settings().model_dump(mode="json")
YAML = yaml.safe_dump(TREE).encode()
WORDS = ["[", "2001-99-99", "!!python/object:x", "&a [*a]", "{" * 50, "0x_", "1e999", "=", "<<", "? x"]
# Each list holds the one before nine times.
LAUGHS = "".join(f"{one}: &{one} [{','.join(['*' + before] * 9)}]\n" for before, one in pairwise("abcdefghi"))
BOMBS = [
    "[" * 1_000,
    "source: {path: !!python/object/apply:os.system [id]}",
    f"a: &a [{','.join('xxxxxxxxx')}]\n{LAUGHS}source: {{path: *i}}",
    f"source:\n  x: &a [{','.join('xxxxxxxxx')}]\n  path: [{','.join(['*a'] * 1000)}]",
    "source: {path: &p [*p]}",
    f"model: {{threads: {'9' * 5000}}}",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "settings.yaml"


@cases(40)
@given(content=mutations(YAML))
def test_settings_files_of_any_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(ConfigError):
        assert isinstance(load(path), Settings)


@cases(30)
@given(tree=altered(TREE))
def test_settings_files_of_any_values(path: Path, tree: object) -> None:
    path.write_text(yaml.dump(tree), encoding="utf-8")
    with suppress(ConfigError):
        assert isinstance(load(path), Settings)


@cases(30)
@given(key=st.sampled_from(KEYS) | st.text(max_size=10), value=st.text(max_size=30) | st.sampled_from(WORDS))
def test_words_of_any_text(key: str, value: str) -> None:
    with suppress(ConfigError):
        assert isinstance(load(None, [f"{key}={value}"]), Settings)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", BOMBS)
def test_bombs_are_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert len(str(refused.value)) < 5000
