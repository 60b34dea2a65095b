"""A tokenizer that the user brings, in place of a vocabulary made of the texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Compose, checked, plain
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lvexp import build
from lvexp.data.special import BOS, EOS, TOKENS, UNK
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, Refusal
from lvexp.job.identity import essence

PIECES = {"[CLS]": 0, "[UNK]": 1, "play": 2, "##ing": 3, "music": 4, ".": 5}


def saved(path: Path, **more: int) -> Path:
    """A small tokenizer of pieces of words, which adds a token of its own, cuts and pads."""
    made = Tokenizer(models.WordPiece({**PIECES, **more}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 0)])
    made.enable_truncation(2)
    made.enable_padding()
    made.save(str(path))
    return path


def test_ids_are_the_tokenizers_after_four_of_ours(tmp_path: Path):
    vocabulary = Vocabulary.of_file(saved(tmp_path / "tokenizer.json"))
    assert vocabulary.size == 4 + len(PIECES)
    found = vocabulary.encode(["Playing music.", "zork music"])
    assert found == [[BOS, 6, 7, 8, 9, EOS], [BOS, UNK, 8, EOS]]
    assert vocabulary.tokens(found[0]) == ["<bos>", "play", "##ing", "music", ".", "<eos>"]
    assert vocabulary.tokens([UNK, 4]) == [TOKENS[UNK], "[CLS]"]
    own = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert vocabulary.decode(found[0]) == own.decode([2, 3, 4, 5], skip_special_tokens=False)
    assert vocabulary.decode(found[1]) == "[UNK] music"


def test_it_is_kept_with_a_run(tmp_path: Path):
    vocabulary = Vocabulary.of_file(saved(tmp_path / "tokenizer.json"))
    again = Vocabulary.from_json(vocabulary.to_json())
    texts = ["playing zork .", ""]
    assert (again.size, again.encode(texts)) == (vocabulary.size, vocabulary.encode(texts))


def test_a_tokenizer_without_an_unknown_token_leaves_them_out(tmp_path: Path):
    bare = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    bare.save(str(tmp_path / "bare.json"))
    vocabulary = Vocabulary.of_file(tmp_path / "bare.json")
    assert vocabulary.encode(["ab", "axa"]) == [[BOS, 6, EOS], [BOS, 4, 4, EOS]]


def test_a_corpus_is_read_with_it_and_its_content_names_the_run(tmp_path: Path, composed: Compose):
    file = saved(tmp_path / "tokenizer.json")
    texts = ("playing " * (n % 9) + "music " * (n // 9) + "play" for n in range(90))
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))

    def config(path: Path):
        return composed("data=text", f"data.files.train={tmp_path / 'texts.txt'}", f"data.vocabulary.run={path}")

    checked(config(file))
    data = build.data(plain(config(file)))
    assert data.vocabulary.size == 4 + len(PIECES)
    rows = [row for batch in data.in_order("train") for row in batch.tokens.tolist()]
    assert {token for row in rows for token in row} == {BOS, EOS, 6, 7, 8}
    first = essence(config(file))
    (tmp_path / "moved").mkdir()
    assert essence(config(file.rename(tmp_path / "moved" / "other.json"))) == first
    assert essence(config(saved(tmp_path / "tokenizer.json", more=6))) != first


@pytest.mark.parametrize(
    ("words", "content", "said"),
    [
        ("", "{}", "is no file of a tokenizer"),
        ("", None, "is no file of a tokenizer"),
        ("data.lowercase=true", "right", "reads all texts as the tokenizer does"),
    ],
)
def test_what_cannot_be_used_is_refused(words: str, content: str | None, said: str, tmp_path: Path, composed: Compose):
    file = tmp_path / "tokenizer.json"
    if content == "right":
        saved(file)
    elif content is not None:
        file.write_text(content)
    with pytest.raises((ConfigError, Refusal), match=said):
        checked(composed(f"data.vocabulary.run={file}", *words.split()))


def test_a_file_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_text('{"model": {}}')
    with pytest.raises(ConfigError, match="is no tokenizer"):
        Vocabulary.of_file(tmp_path / "x.json")
