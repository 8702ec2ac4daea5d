"""How many cases are tried, and the ways in which they are made wrong.

PHOENIX_RAY_FUZZ_CASES says how many cases there are in all (`make fuzz` asks for more than 100,000); without it a small
part is tried. A case is named by its seed, so that a failure can be repeated.
"""

from __future__ import annotations

import copy
import os
import random
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

CASES_VARIABLE = "PHOENIX_RAY_FUZZ_CASES"
_DEFAULT_CASES = 1_000
_SHARES = 1000

# Numbers and bytes that parsers stumble over.
_EDGES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\n",
    b'"',
    b"|",
    b",",
    b"\xef\xbb\xbf",
)


def cases(share: int) -> settings:
    """Return settings for a test that tries `share` thousandths of all cases; one that takes a minute hangs."""
    total = int(os.environ.get(CASES_VARIABLE, _DEFAULT_CASES))
    return settings(
        max_examples=max(5, total * share // _SHARES),
        deadline=timedelta(seconds=60),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=CASES_VARIABLE not in os.environ,
    )


def mutations(*originals: bytes) -> st.SearchStrategy[bytes]:
    """Give files that were right once."""
    return st.builds(_mutate, st.sampled_from(originals), st.integers(0, 2**64 - 1))


def _mutate(original: bytes, seed: int) -> bytes:
    numbers = random.Random(seed)
    content = bytearray(original)
    for _ in range(numbers.choice((1, 1, 2, 4, 16))):
        # Headers come first and footers last: damage there goes deepest.
        reach = numbers.choice((16, 64, 512, len(content)))
        start = numbers.randrange(max(1, min(reach, len(content))))
        if numbers.random() < 0.4:
            start = max(0, len(content) - 1 - start)
        length = numbers.choice((1, 1, 2, 4, 8, 64))
        match numbers.randrange(6):
            case 0:
                content[start : start + 1] = bytes([numbers.randrange(256)])
            case 1:
                content[start : start + length] = b""
            case 2:
                content[start:start] = numbers.choice(_EDGES) * length
            case 3:
                content[start : start + length] = numbers.randbytes(length)
            case 4:
                content[start:start] = content[start : start + length] * numbers.choice((1, 2, 100))
            case _:
                del content[numbers.randrange(len(content) + 1) :]
    return bytes(content)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "..", "../../x", "/etc/x", "data/../x", "\0", "\x1b[2J", "0" * 32, "-1", "1e999", 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def altered(tree: Any) -> st.SearchStrategy[Any]:
    """Give a JSON tree with one or two values, anywhere in it, replaced by any other."""
    return st.builds(_alter, st.just(tree), st.lists(json_values, min_size=1, max_size=2), st.integers(0, 2**32 - 1))


def _alter(tree: Any, values: list[Any], seed: int) -> Any:
    numbers = random.Random(seed)
    tree = copy.deepcopy(tree)
    for value in values:
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = numbers.choice(keys)
            inner = place[key]
            if isinstance(inner, dict | list) and inner and numbers.random() < 0.8:
                place = inner
                continue
            if numbers.random() < 0.1 and isinstance(place, dict):
                del place[key]
            else:
                place[key] = value
            break
    return tree
