"""A finished run that another run starts from: checks whether it fits, and identifies it. Free of torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lvexp.checks import declarations, limits
from lvexp.data.settings import PATTERN
from lvexp.errors import ConfigError, Refusal

#: the settings in which an encoder and the decoder that it starts from must agree
SIZES = ("cell", "embedding", "hidden", "layers")
#: groups in which a run must agree with the run from whose parameters it starts
NETWORK = ("model", "encoder", "decoder", "latent", "prior")
#: keys of them that only training or the report uses, beside those of dropout
_OF_TRAINING = ("model.samples", "model.best", "model.alpha", "model.per_word", "model.draws", "model.map")
_OF_TRAINING += ("model.embeddings",)  # word vectors before training
#: keys of a corpus that say how its texts become tokens with a given vocabulary → their defaults
READING = {
    "view": "tokens",
    "lowercase": False,
    "vocabulary.kind": "words",
    "vocabulary.joint": True,
    "counts.pattern": PATTERN,
}
_PRINTED = "the folder that a finished run printed as its own"
_ABSENT = object()


def checkpoint(folder: str | Path) -> Path:
    """The file of a run's best parameters."""
    return Path(folder).expanduser() / "checkpoints" / "best.ckpt"


def run_id(folder: str | Path | None) -> str:
    """The id of the run in a folder, even if the folder was renamed; the folder itself if it holds no run; of a file of
    a tokenizer, a hash of its content."""
    if (file := tokenizer(folder)) is not None and file.is_file():
        return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    return str(_result(folder or "").get("run_id", folder))


def tokenizer(folder: str | Path | None) -> Path | None:
    """The file of a tokenizer, if one is named in place of a run."""
    return Path(folder).expanduser() if folder is not None and str(folder).endswith(".json") else None


def named(node: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """The keys of an option that name the folder of a language model, each with the key of the sizes that it must have;
    None for those of the encoder, and then it must be given."""
    said = node.get("starts_from") or {}
    return [*said.items()] if isinstance(said, Mapping) else [(key, None) for key in said]


def check(where: str, folder: str | None, sizes: str, node: Mapping[str, Any]) -> None:
    """Rejects a folder that does not hold a finished language model with the wanted sizes.

    Args:
        where: the key that names the folder, such as ``regularizer.lm_init.run``. folder: its value.
        sizes: the key under which the sizes are, such as ``encoder``. node: its value.

    Raises:
        Refusal: no folder is named, or the encoder has other sizes. ConfigError: the folder cannot be used.
    """
    train = "try  " + " ".join(["python -m lvexp model=rnnlm", *_sizes(node)])
    if folder is None:
        raise Refusal(
            f"{where}: no language model to start from is named\n{train}\nthen {where}=DIR, the folder that it prints"
        )
    decoder = language_model(where, folder, train)
    if other := [key for key in SIZES if decoder.get(key) != node.get(key)]:
        there = [f"{sizes}.{key}={decoder.get(key)}" for key in other]
        here = [f"{sizes}.{key}={node.get(key)}" for key in other]
        raise Refusal(f"{' '.join(here)}: the language model in {folder} is of other sizes\ntry  {' '.join(there)}")


def language_model(where: str, folder: str, train: str) -> Mapping[str, Any]:
    """The ``decoder`` group of a finished language model; ``train`` says how to get one.

    Raises:
        ConfigError: the folder cannot be used.
    """
    typed = f"{where}={folder}"
    again = f"{train} force=true\nand its folder"
    config = _finished(typed, folder, f"{train}\nand its folder", again, ("latent", "decoder"))
    if "no_latent" not in (_node(config, typed, "latent").get("provides") or ()):
        raise ConfigError(f"{typed}: this run is not of a language model\n{train}\nand its folder")
    return _node(config, typed, "decoder")


def vocabulary(plain: Mapping[str, Any]) -> None:
    """Rejects texts that are not read as those of the run whose vocabulary they are to have (``data.vocabulary.run``).

    Raises:
        Refusal: they are read in another way. ConfigError: the folder cannot be used.
    """
    data, folder = plain["data"], vocabulary_of(plain["data"])
    if folder is None:
        return
    typed = f"data.vocabulary.run={folder}"
    if (file := tokenizer(folder)) is not None:
        _tokenizer(typed, file, data)
        return
    was = _node(_finished(typed, folder), typed, "data")
    for key in _keys(data):
        mine, other = (_at(node, key, READING[key]) for node in (data, was))
        if mine != other:
            raise Refusal(
                f"data.{key}={limits.typed(mine)}: the run in {folder} has data.{key}={limits.typed(other)}\n"
                f"try  data.{key}={limits.typed(other)} | another run"
            )


def _tokenizer(typed: str, file: Path, data: Mapping[str, Any]) -> None:
    """Rejects a file that is no tokenizer, and settings that it decides itself."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        assert isinstance(known, dict)
        assert "model" in known
    except Exception as error:
        raise ConfigError(f"{typed}: is no file of a tokenizer\ntry  a tokenizer.json of Hugging Face") from error
    fixed: dict[str, Any] = {"view": "tokens", "lowercase": False}
    if "vocabulary.joint" in _keys(data):
        fixed["vocabulary.joint"] = True
    for key, value in fixed.items():
        if (mine := _at(data, key, value)) != value:
            raise Refusal(
                f"data.{key}={limits.typed(mine)}: {typed} reads all texts as the tokenizer does\n"
                f"try  data.{key}={limits.typed(value)} | leave out data.vocabulary.run"
            )


def network(plain: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Rejects a model with other parts than the run from whose parameters it is to start (``finetune``).

    Args:
        plain: the configuration, resolved. choices: group → option.

    Raises:
        Refusal: a part is another. ConfigError: the folder cannot be used.
    """
    folder = plain.get("finetune")
    if folder is None:
        return
    typed = f"finetune={folder}"
    config, chosen = _finished(typed, folder), _result(folder).get("choices") or {}
    if run_id(vocabulary_of(plain["data"])) != run_id(folder):
        other = limits.typed(vocabulary_of(plain["data"]))
        raise Refusal(
            f"{typed} data.vocabulary.run={other}: its word vectors are of its own vocabulary\n"
            "try  leave out data.vocabulary.run"
        )
    for group in NETWORK:
        node = {} if group == "prior" and "prior" not in config else _node(config, typed, group)
        mine, was = (dict(_settings(group, settings)) for settings in (plain[group], node))
        was = {"prior._target_": None, **was} if group == "prior" and mine != was else was
        for path in sorted(mine.keys() | was.keys(), key=lambda path: ("_target_" not in path, path)):
            if path not in was or mine.get(path, _ABSENT) == was[path]:  # a newer key: its default is what the run had
                continue
            pair = [f"{path}={limits.typed(values.get(path))}" for values in (mine, was)]
            option = chosen.get(group, "standard" if group == "prior" else None)
            if path == f"{group}._target_" and option not in (None, choices.get(group)):
                pair = [f"{group}={option}" for option in (choices.get(group), option)]
            raise Refusal(
                f"{pair[0]}: the run in {folder} has {pair[1]}, and its parameters fit nothing else\n"
                f"try  {pair[1]} | leave out {pair[0].partition('=')[0]}=…"
            )


def vocabulary_of(data: Mapping[str, Any]) -> str | None:
    """The run whose vocabulary a corpus has, in a ``data`` group; None if it has one of its own."""
    return _at(data, "vocabulary.run", None)


def reading(folder: Path) -> dict[str, Any]:
    """How a finished run reads its texts: key of the ``data`` group → value, as far as it is set."""
    data = _node(_finished(f"finetune={folder}", folder), f"finetune={folder}", "data")
    found = {key: _at(data, key, None) for key in _keys(data) if key != "view"}
    return {key: value for key, value in found.items() if value is not None}


def _finished(
    typed: str,
    folder: str | Path,
    other: str = f"try  {_PRINTED}",
    again: str = f"try  {_PRINTED}",
    groups: Sequence[str] = (),
) -> DictConfig:
    """The configuration of a finished run.

    Args:
        typed: what names the run. other, again: what to do if there is none, and if its files are damaged.
        groups: those that the configuration must have.

    Raises:
        ConfigError: there is no such run, it has not ended, or its files are missing or damaged.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ConfigError(f"{typed}: there is no such folder\n{other}")
    if not (path / "DONE").exists():
        raise ConfigError(f"{typed}: this run has not ended\ntry  the command that began it once more")
    try:
        config = OmegaConf.load(path / ".hydra" / "config.yaml")
        assert isinstance(config, DictConfig)
        assert all(isinstance(config[group], DictConfig) for group in groups)
    except Exception as error:  # yaml raises errors of several classes for a damaged file
        raise ConfigError(f"{typed}: its .hydra/config.yaml is missing or damaged\n{again}") from error
    if not checkpoint(path).is_file():
        raise ConfigError(f"{typed}: there is no {checkpoint(path)}\n{again}")
    return config


def _node(config: DictConfig, typed: str, group: str) -> dict[str, Any]:
    """A group of a run's configuration, resolved."""
    try:
        found: Any = OmegaConf.to_container(config[group], resolve=True)
        return dict(found)
    except Exception as error:  # resolvers raise any error
        raise ConfigError(
            f"{typed}: its .hydra/config.yaml has no {group} that can be read\ntry  another copy of the run"
        ) from error


def _settings(group: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Path and value of everything that shapes a part of a model, without what only its training uses."""
    for key, value in declarations.undeclared(node).items():
        path = f"{group}.{key}"
        if key in (node.get("ignores") or ()) or path in _OF_TRAINING or key.startswith("dropout"):
            continue
        if isinstance(value, Mapping):
            yield from _settings(path, node[key])
        else:
            yield path, value


def _at(node: Mapping[str, Any], path: str, default: Any) -> Any:
    for part in path.split("."):
        found = node.get(part) if isinstance(node, Mapping) else None
        node = found  # type: ignore[assignment]
    return default if node is None else node


def _keys(data: Mapping[str, Any]) -> list[str]:
    """The keys of :data:`READING` that a corpus uses."""
    counted, sources = data.get("view") == "counts", data.get("sources") or {}
    unused = {"vocabulary.kind" if counted else "counts.pattern"}
    if _at(data, "columns.source", None) is None and not any(sources.values()):
        unused.add("vocabulary.joint")
    return [key for key in READING if key not in unused]


def _result(folder: str | Path) -> dict[str, Any]:
    """The content of a run's ``result.json``; empty if it is missing or damaged."""
    try:
        found = json.loads((Path(folder).expanduser() / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sizes(node: Mapping[str, Any]) -> list[str]:
    return [f"decoder.{key}={node.get(key)}" for key in SIZES]
