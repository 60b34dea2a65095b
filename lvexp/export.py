"""A finished run as a folder to share: ``python -m lvexp.export RUN DIR``.

It holds no pickle, and what a model repository expects: ``config.json``, ``model.safetensors``, ``vocabulary.json``
(``sources.json``), ``result.json`` and a ``README.md``. ``lvexp.load(DIR)`` reads it back.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.errors import ConfigError, DataError
from lvexp.job import command
from lvexp.report.result import RESULT

_EXAMPLES = """\
  python -m lvexp.export outputs/default/svae-… svae-snips
"""
#: key of result.json → name and unit in the model card
_FIGURES = {
    "elbo": ("ELBO", "nats per text"),
    "nll": ("NLL", "nats per text"),
    "rate": ("rate", "nats per text"),
    "mi": ("mutual information", "nats"),
    "active_units": ("active units", ""),
}
#: keys of ``data`` that say where the files of one machine are
_PLACES = ("root", "cache")
_FILES = ("files", "sources")


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("export", lambda: _export(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("export", __doc__, _EXAMPLES)
    parser.add_argument("run", help="folder of a finished run, or a checkpoint")
    parser.add_argument("to", metavar="DIR", help="folder to write, which does not exist or is empty")
    return parser.parse_args(words)


def _export(asked: argparse.Namespace) -> None:
    to, run = Path(asked.to).expanduser(), Path(asked.run).expanduser()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{asked.to}: there is something already\ntry  another folder")
    file = run if run.suffix == ".ckpt" else run / "checkpoints" / "best.ckpt"
    if not file.is_file():
        raise ConfigError(
            f"{asked.run}: there is no checkpoint at {file}\ntry  the folder that a run printed as its own"
        )
    try:
        from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]  # an optional package
    except ImportError as error:
        raise ConfigError("the package safetensors is not installed\ntry  pip install 'lvexp[export]'") from error

    from lvexp.job import checkpoints, identity

    saved = checkpoints.read(file, "another copy of it, or the command that trained it, with force=true")
    kept = dict(saved["hyper_parameters"])
    texts = {f"{name}.json": kept.pop(name) for name in ("vocabulary", "sources") if name in kept}
    kept["config"] = _shared(kept["config"])
    about = {"model_type": checkpoints.EXPORTED, "lvexp_version": identity.version(), **kept}
    result = run / RESULT
    found = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
    texts["config.json"] = json.dumps(about, indent=1, ensure_ascii=False)
    texts["README.md"] = _card(found, kept["config"], to.resolve().name)
    if found:
        texts[RESULT] = json.dumps({key: value for key, value in found.items() if key != "overrides"}, indent=1)
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (to / name).write_text(text, encoding="utf-8")
        # each tensor by itself: tied parameters share their memory
        tensors = {name: value.detach().clone().contiguous() for name, value in saved["state_dict"].items()}
        save_file(tensors, to / checkpoints.TENSORS, metadata={"format": "pt"})
    except OSError as error:
        raise DataError(f"{to}: cannot be written: {error.strerror or error}\ntry  another folder") from error
    print(f"exported to {to}; lvexp.load({str(to)!r}) reads it")


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the places of one machine."""
    data = dict(config["data"])
    data |= {key: None for key in _PLACES if key in data}
    data |= {key: dict.fromkeys(data[key]) for key in _FILES if isinstance(data.get(key), Mapping)}
    if isinstance(data.get("hf"), Mapping):
        data["hf"] = {**data["hf"], "path": None}
    return {**{key: value for key, value in config.items() if key != "paths"}, "data": data}


def _card(result: Mapping[str, Any], config: Mapping[str, Any], name: str) -> str:
    """The model card: what the model is, how good it is on its test set, and how to use it."""
    scores = result.get("test") or {}
    model = str((result.get("choices") or {}).get("model") or config["model"]["_target_"].rpartition(".")[2])
    rows = [
        f"| {title} | {scores[key]:{'d' if isinstance(scores[key], int) else '.2f'}} | {unit} |"
        for key, (title, unit) in _FIGURES.items()
        if isinstance(scores.get(key), int | float)
    ]
    table = ["| test set | value | unit |", "|---|---|---|", *rows, ""] if rows else []
    verdict = [f"{result['verdict']}.", ""] if result.get("verdict") else []
    lines = [
        "---", "library_name: lvexp", "tags: [latent-variable-model, text]", "---", "", f"# {name}", "",
        f"A model of text, `model={model}`, trained on `data={config['data']['name']}`"
        + (f" (run {result['run_id']}, seed {result.get('seed')})." if result.get("run_id") else "."), "",
        *verdict, *table,
        "```python", "import lvexp", "", f'run = lvexp.load("{name}")', "```", "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
