"""The vocabulary, from text to ids and back."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsInt

from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, SPECIAL, TOKENS, UNK
from lvexp.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = TOKENS[UNK]
_WORDPUNCT = re.compile(rf"{UNKNOWN}|\w+|[^\w\s]+")
# The tokenizer's threads are incompatible with a later fork (a sweep, a data loader), and jobs of a sweep share the
# processors anyway. A value set by the user takes precedence.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class Vocabulary:
    """A Hugging Face ``Tokenizer`` with this project's conventions.

    ============  ====================================================================================
    words         split at white space, nowhere else
    wordpunct     runs of letters, digits and ``_``, and runs of other signs, white space or not between them
    characters    code points; a literal ``<unk>`` in the text is one symbol
    bpe           byte-level byte-pair encoding: no text is unknown
    tokenizer     as the tokenizer of a file does (:meth:`of_file`)
    ============  ====================================================================================

    Ids 0–3 are the special tokens of :mod:`lvexp.data.special`. A literal ``<unk>`` in the text (Penn Treebank) is the
    unknown token; a literal ``<pad>``, ``<bos>`` or ``<eos>`` has no special meaning.

    Args:
        tokenizer: maps text to ids, without ``<bos>`` and ``<eos>``.
        kind: ``words``, ``wordpunct``, ``characters``, ``bpe`` or ``tokenizer``. Ids of the last are shifted by four,
            and its unknown token is that of this project.
        lowercase: whether text is lower-cased first.
    """

    special = SPECIAL

    def __init__(self, tokenizer: Tokenizer, kind: str, lowercase: bool) -> None:
        self.tokenizer = tokenizer
        self.kind = kind
        self.lowercase = lowercase
        # For words and characters a table look-up gives the same ids as the tokenizer, several times faster.
        entries = tokenizer.get_vocab() if kind not in ("bpe", "tokenizer") else {}
        special = set(TOKENS) - {UNKNOWN} if kind == "words" else set()
        self._ids = {entry: number for entry, number in entries.items() if entry not in special}
        self._unknown = _unknown(tokenizer) if kind == "tokenizer" else None

    @classmethod
    def train(cls, texts: Iterable[str], kind: str, max_size: int, min_count: int, lowercase: bool) -> Vocabulary:
        """The vocabulary of ``texts``: the most frequent entries, ties in code point order.

        Args:
            texts: read once.
            kind: ``words``, ``wordpunct``, ``characters`` or ``bpe``.
            max_size: the largest number of entries, including the four special tokens.
            min_count: rarer words and characters become ``<unk>``; for BPE, rarer pairs are not merged.
            lowercase: whether to lower-case first.
        """
        if kind == "bpe":
            return cls(_byte_pairs(texts, max_size, min_count, lowercase), kind, lowercase)
        pieces = (_pieces(_lower(text) if lowercase else text, kind) for text in texts)
        counts = Counter(itertools.chain.from_iterable(pieces))
        for token in (UNKNOWN,) if kind == "characters" else TOKENS:
            counts.pop(token, None)
        kept = sorted((entry for entry, count in counts.items() if count >= min_count), key=lambda e: (-counts[e], e))
        entries = [*TOKENS, *kept[: max_size - len(TOKENS)]]
        return cls(_table(entries, kind, lowercase), kind, lowercase)

    @classmethod
    def of_file(cls, path: str | Path) -> Vocabulary:
        """The vocabulary of a file that Hugging Face's ``tokenizers`` wrote. Its own special tokens are not added.

        Raises:
            ConfigError: the file cannot be read.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more precise
            raise ConfigError(f"{path}: is no tokenizer: {error}\ntry  a tokenizer.json of Hugging Face") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, "tokenizer", lowercase=False)

    @property
    def size(self) -> int:
        """Number of entries, including the special tokens."""
        if self.kind == "tokenizer":
            return len(TOKENS) + max(self.tokenizer.get_vocab().values()) + 1
        return self.tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text between ``<bos>`` and ``<eos>``."""
        if self.kind in ("bpe", "tokenizer"):
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            if self.kind == "bpe":
                return [[BOS, *encoding.ids, EOS] for encoding in found]
            shift, unknown = len(TOKENS), self._unknown
            return [[BOS, *(UNK if one == unknown else one + shift for one in part.ids), EOS] for part in found]
        if self.lowercase:
            texts = [_lower(text) for text in texts]
        get, unknown = self._ids.get, itertools.repeat(UNK)
        return [[BOS, *map(get, _pieces(text, self.kind), unknown), EOS] for text in texts]

    def batch(self, texts: Sequence[str]) -> Batch:
        """Texts as a padded batch."""
        return Batch.of(self.encode(texts))

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """The text up to the first ``<eos>``, without special tokens except ``<unk>``."""
        kept = list(_words(ids))
        if self.kind == "bpe":
            return self.tokenizer.decode(kept, skip_special_tokens=False).strip()
        if self.kind == "tokenizer":
            own = [self._unknown if one == UNK else one - len(TOKENS) for one in kept]
            return self.tokenizer.decode([one for one in own if one is not None], skip_special_tokens=False).strip()
        return ("" if self.kind == "characters" else " ").join(self.tokens(kept))

    def tokens(self, ids: Iterable[SupportsInt]) -> list[str]:
        """The entry of each id, including special tokens."""
        if self.kind == "tokenizer":
            shift = len(TOKENS)
            found = [TOKENS[n] if n < shift else self.tokenizer.id_to_token(n - shift) for n in map(int, ids)]
        else:
            found = [self.tokenizer.id_to_token(int(number)) for number in ids]
        return [UNKNOWN if entry is None else entry for entry in found]

    def to_json(self) -> str:
        """The vocabulary as one string, for :meth:`from_json`."""
        return json.dumps(
            {"kind": self.kind, "lowercase": self.lowercase, "tokenizer": json.loads(self.tokenizer.to_str())},
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that :meth:`to_json` wrote."""
        from tokenizers import Tokenizer

        saved = json.loads(text)
        tokenizer = Tokenizer.from_str(json.dumps(saved["tokenizer"], ensure_ascii=False))
        return cls(tokenizer, saved["kind"], saved["lowercase"])


def _unknown(tokenizer: Tokenizer) -> int | None:
    """The id of a tokenizer's unknown token; None if it has none."""
    model = json.loads(tokenizer.to_str())["model"]
    token = model.get("unk_token")
    return model.get("unk_id") if token is None else tokenizer.token_to_id(token)


def _words(ids: Iterable[SupportsInt]) -> Iterator[int]:
    for number in map(int, ids):
        if number == EOS:
            return
        if number >= UNK:
            yield number


def _lower(text: str) -> str:
    # The tokenizer lower-cases letter by letter; str.lower() would write a word-final sigma in another way.
    return text.replace("Σ", "σ").lower()


def _pieces(text: str, kind: str) -> list[str]:
    if kind == "words":
        return text.split()
    if kind == "wordpunct":
        return _WORDPUNCT.findall(text)
    if UNKNOWN not in text:
        return list(text)
    head, *rest = text.split(UNKNOWN)
    return [*head, *(piece for part in rest for piece in (UNKNOWN, *part))]


def _table(entries: list[str], kind: str, lowercase: bool) -> Tokenizer:
    """A tokenizer that agrees exactly with the look-up in :meth:`Vocabulary.encode`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    ids = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    if kind == "words":
        # Python treats four control characters as white space, the tokenizer does not.
        steps.append(normalizers.Replace(Regex("[\x1c-\x1f]"), " "))
        steps.append(normalizers.Replace(Regex(r"(?<!\S)<(pad|bos|eos)>(?!\S)"), UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    elif kind == "wordpunct":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDPUNCT.pattern), "removed", invert=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{UNKNOWN}|[\s\S]"), "isolated")
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _byte_pairs(texts: Iterable[str], max_size: int, min_count: int, lowercase: bool) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    # A blank before the first word makes it the same token as inside a sentence; `decode` strips it.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=min_count,
        special_tokens=list(TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text.replace(UNKNOWN, " ") for text in texts), trainer)
    # Rebuilt without the trainer's special tokens, so that a literal "<eos>" in a text is ordinary characters.
    learned = json.loads(tokenizer.to_str())
    learned["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(learned))
    tokenizer.add_special_tokens([AddedToken(UNKNOWN, normalized=False)])
    return tokenizer
