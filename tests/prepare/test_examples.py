from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.prepare import Vocabulary
from phoenix_ray.prepare.examples import GLOSS_SPECIALS, WORD_SPECIALS

TEXTS = st.lists(st.text("ABÄß <>", max_size=20), max_size=6)


@given(texts=TEXTS, order=st.randoms())
def test_the_order_of_texts_does_not_matter(texts: list[str], order: object) -> None:
    vocabulary = Vocabulary.build(texts, GLOSS_SPECIALS)
    assert Vocabulary.build(sorted(texts), GLOSS_SPECIALS) == vocabulary
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens) == len(vocabulary.counts)


@given(texts=TEXTS)
def test_known_text_decodes_to_itself(texts: list[str]) -> None:
    vocabulary = Vocabulary.build(texts, WORD_SPECIALS)
    for text in texts:
        assert vocabulary.decode(vocabulary.encode(text)) == " ".join(text.split())


def test_frequent_tokens_come_first_and_equal_ones_by_code_point() -> None:
    vocabulary = Vocabulary.build(["REGEN NORD", "REGEN SUED", "NORD ÄNDERN"], GLOSS_SPECIALS)
    assert vocabulary.tokens == ("<blank>", "<pad>", "<unk>", "NORD", "REGEN", "SUED", "ÄNDERN")
    assert vocabulary.counts == (0, 0, 0, 2, 2, 1, 1)
    assert vocabulary.encode("REGEN SCHNEE") == [4, 2]


def test_rare_tokens_become_unknown() -> None:
    vocabulary = Vocabulary.build(["A A B"], WORD_SPECIALS, min_count=2)
    assert vocabulary.decode(vocabulary.encode("A B")) == "A <unk>"
