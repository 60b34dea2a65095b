from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvexp.data.special import BOS, EOS, PAD, TOKENS, UNK
from lvexp.data.vocabulary import Vocabulary

TEXTS = ["the cat sat", "the dog sat down", "a <unk> sat", "Ünïcode Σίσυφος"]
SIZES = {"words": 100, "characters": 100, "bpe": 300}
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
PIECES = st.lists(st.sampled_from(["the", "cat", "Σ", "ΣΑΣ", "<unk>", "<eos>", " ", "\x1c", "\u3000", "x<eos>"])).map(
    "".join
)


def train(kind: str, lowercase: bool = False, texts=TEXTS) -> Vocabulary:
    return Vocabulary.train(iter(texts), kind, SIZES[kind], 1, lowercase)


VOCABULARIES = {(kind, low): train(kind, low) for kind in SIZES for low in (False, True)}


@pytest.mark.parametrize("kind", SIZES)
def test_special_tokens_have_their_ids(kind):
    vocabulary = train(kind)
    assert vocabulary.tokens([PAD, BOS, EOS, UNK]) == list(TOKENS)
    assert vocabulary.encode([""]) == [[BOS, EOS]]
    assert vocabulary.decode([BOS, PAD, EOS, 5, 6]) == ""


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(kind, text):
    vocabulary = train(kind)
    (ids,) = vocabulary.encode([text])
    assert (ids[0], ids[-1], ids.count(UNK)) == (BOS, EOS, text.count("<unk>"))
    assert vocabulary.decode(ids) == text


@given(TEXT)
def test_bytes_know_every_text(text):
    vocabulary = VOCABULARIES["bpe", False]
    (ids,) = vocabulary.encode([text])
    assert vocabulary.decode(ids) == text.strip() or "<unk>" in text
    assert text.count("<unk>") == ids.count(UNK)


@given(TEXT | PIECES, st.sampled_from(["words", "characters"]), st.booleans())
def test_the_table_gives_the_ids_of_the_tokenizer(text, kind, lowercase):
    vocabulary = VOCABULARIES[kind, lowercase]
    assert vocabulary.encode([text])[0][1:-1] == vocabulary.tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", SIZES)
def test_special_names_in_a_text_are_not_special(kind):
    (ids,) = train(kind).encode(["<eos> <pad> <bos>"])
    assert not {PAD, BOS, EOS} & set(ids[1:-1])


@pytest.mark.parametrize(("kind", "lowercase"), VOCABULARIES)
def test_one_string_holds_all_of_it(kind, lowercase):
    vocabulary = VOCABULARIES[kind, lowercase]
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.to_json() == vocabulary.to_json()
    assert again.size == vocabulary.size
    texts = [*TEXTS, "new words, THE cat"]
    assert again.encode(texts) == vocabulary.encode(texts)
    assert [again.decode(ids) for ids in again.encode(texts)] == [
        vocabulary.decode(i) for i in vocabulary.encode(texts)
    ]


def test_ties_and_limits():
    texts = ["b a c c", "d d d", "a b"]
    assert Vocabulary.train(texts, "words", 6, 1, False).tokens(range(4, 7)) == ["d", "a", "<unk>"]
    assert Vocabulary.train(texts, "words", 99, 3, False).tokens(range(4, 6)) == ["d", "<unk>"]
    assert Vocabulary.train(reversed(texts), "words", 99, 1, False).tokens(range(4, 8)) == ["d", "a", "b", "c"]


def test_lowercase():
    assert train("words", True).encode(["THE Cat"]) == train("words", True).encode(["the cat"])
    assert train("bpe", True).encode(["THE Cat"]) == train("bpe", True).encode(["the cat"])


@pytest.mark.parametrize("kind", SIZES)
def test_the_same_in_every_process(kind):
    code = (
        "import hashlib; from lvexp.data.vocabulary import Vocabulary\n"
        "texts = [f'w{i * i % 91} x{i % 13} y{i % 7}' for i in range(3000)]\n"
        f"print(hashlib.md5(Vocabulary.train(texts, {kind!r}, 400, 1, False).to_json().encode()).hexdigest())"
    )
    threads = (
        {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {"TOKENIZERS_PARALLELISM": "true", "PYTHONHASHSEED": "2"},
    )
    found = {
        subprocess.run([sys.executable, "-c", code], env=os.environ | env, check=True, capture_output=True).stdout
        for env in threads
    }
    assert len(found) == 1
