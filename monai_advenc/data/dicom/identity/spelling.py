# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Ways to spell a text, so that a name is found however it was typed: case, accents, umlauts, separators."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Final

_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})

_UNDECOMPOSED: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ß": "ss"}
)
"""Letters whose strokes and joins Unicode does not take apart."""

_FIRST_ACCENT = 200
"""Combining classes from here on are accents of letters; those below are vowels and tones, which tell words apart."""

_SYLLABLES = re.compile(
    "[\u3005\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]"
)
"""Han, kana, bopomofo and hangul: a letter is a syllable, and words need no space between them."""

_SHORTEST_RUN = 4
_SHORTEST_RUN_OF_DIGITS = 5
"""What runs over several words is found from these lengths on; shorter runs are there by chance."""

_INNER_BREAK = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")


def spellings(text: str) -> frozenset[str]:
    """A text without case, accents and width of letters; once with umlauts as vowels, once as two letters."""
    text = "".join(each for each in text if unicodedata.category(each) != "Cf")  # Soft hyphens, direction marks.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return frozenset(_without_accents(each) for each in (folded, folded.translate(_UMLAUTS)))


def _without_accents(text: str) -> str:
    apart = unicodedata.normalize("NFD", text.translate(_UNDECOMPOSED))
    bare = "".join(each for each in apart if unicodedata.combining(each) < _FIRST_ACCENT)
    return unicodedata.normalize("NFC", bare)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits in a text; of syllabic scripts, runs of their own."""
    return ["".join(run) for kind, run in groupby(text, _kind) if kind]


def _kind(character: str) -> str:
    if _SYLLABLES.match(character):
        return "syllables"
    # Vowel signs are marks, and part of the word.
    return "word" if character.isalnum() or unicodedata.category(character)[0] == "M" else ""


def is_syllabic(word: str) -> bool:
    """Whether a word of :func:`words_of` is of a script whose letters are syllables."""
    return _SYLLABLES.match(word) is not None


def compact(text: str) -> str:
    """A text without its separators."""
    return "".join(words_of(text))


def taken_apart(name: str) -> str:
    """A name with a space between letters and digits and before each hump: ``LiWu12`` is ``Li Wu 12``."""
    name = unicodedata.normalize("NFKC", name)
    humps = "".join(f" {b}" if a.islower() and b.isupper() else b for a, b in zip(" " + name, name, strict=False))
    return _INNER_BREAK.sub(" ", humps)


@dataclass(frozen=True)
class Passage:
    """One spelling of a text, in which words are looked for.

    Attributes:
        text: One of its :func:`spellings`.
    """

    text: str

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words; numbers without leading zeros, too."""
        words = words_of(self.text)
        return frozenset([*words, *(word.lstrip("0") for word in words if word.isdigit())])

    @cached_property
    def _boundaries(self) -> frozenset[int]:
        """Where words begin and end in the text without separators."""
        return frozenset(accumulate(map(len, words_of(self.text)), initial=0))

    @cached_property
    def _compact(self) -> str:
        return compact(self.text)

    def has_word(self, word: str) -> bool:
        """Whether a compact word is one word of the text, or several in a row without what separates them."""
        return word in self.words or self._has_run(word)

    def _has_run(self, word: str) -> bool:
        if len(word) < (_SHORTEST_RUN_OF_DIGITS if word.isdigit() else _SHORTEST_RUN):
            return False
        start = self._compact.find(word)
        while start >= 0:
            if start in self._boundaries and start + len(word) in self._boundaries:
                return True
            start = self._compact.find(word, start + 1)
        return False


def passages(text: str) -> tuple[Passage, ...]:
    """The spellings of a text, ready to be searched."""
    return tuple(Passage(each) for each in sorted(spellings(text)))
