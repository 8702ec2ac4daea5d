"""Vocabularies of glosses and of translated words, made from the training split alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# A gloss vocabulary starts with CTC's blank, as torch.nn.CTCLoss expects it by default.
GLOSS_SPECIALS = ("<blank>", "<pad>", "<unk>")
WORD_SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their IDs: special tokens first, then by falling count, equal counts by code points.

    Attributes:
        tokens: The token of each ID.
        counts: How often each occurs in the text it was made from; 0 of a special token.
    """

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def build(cls, texts: Iterable[str], specials: Sequence[str], min_count: int = 1) -> Vocabulary:
        """Return the vocabulary of texts, whose tokens are what stands between blanks.

        Args:
            texts: Texts of the training split.
            specials: Special tokens, the first gets ID 0; `<unk>` among them.
            min_count: Rarer tokens are left out, and become `<unk>`.
        """
        counts = Counter(token for text in texts for token in text.split())
        frequent = [token for token in counts if counts[token] >= min_count and token not in specials]
        words = sorted(frequent, key=lambda token: (-counts[token], token))
        return cls((*specials, *words), (*([0] * len(specials)), *(counts[word] for word in words)))

    def encode(self, text: str) -> list[int]:
        """Return the ID of each token of a text; that of `<unk>` for a token that is not in the vocabulary."""
        return [self._ids.get(token, self._ids["<unk>"]) for token in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of IDs: undoes `encode`, but for unknown tokens and the kind of blanks."""
        return " ".join(self.tokens[index] for index in ids)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"tokens": list(self.tokens), "counts": list(self.counts)}

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}
