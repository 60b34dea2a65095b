"""The words of a command line: each is a flag of Hydra's or ``key=value``. Free of torch.

Checked before Hydra reads them, whose own messages say neither which word is meant nor what to type.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lvexp.checks import synonyms
from lvexp.checks.declarations import SEVERAL
from lvexp.checks.menu import Menu
from lvexp.checks.nearest import OWN, TEXTS, plain, quoted
from lvexp.errors import ConfigError

_FLAGS = ("-m", "--multirun", "-r", "--run", "-h", "--help", "--hydra-help", "--resolve", "-sc", "--shell-completion")
_FLAGS += ("--version", "-i", "--info")
#: flags that a value follows → what it may be
_VALUED = {
    **dict.fromkeys(("-c", "--cfg"), ("job", "hydra", "all")),
    **dict.fromkeys(("-p", "--package", "-cp", "--config-path", "-cn", "--config-name"), ()),
    **dict.fromkeys(("-cd", "--config-dir", "--experimental-rerun"), ()),
}
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_RANGE = re.compile(r"(\d+)(?:\.\.|-|:)(\d+)")
_BLANKS = re.compile(r"(?<=[,\[]) +")
_CLOSING = {"[": "]", "{": "}", "(": ")"}
_FILE = ["--config-dir DIR experiment=NAME"]
_NO_KEY = "settings are written key=value"


class _Part(NamedTuple):
    """A part of the command line, corrected where ``why`` says what is wrong with it."""

    typed: str
    instead: list[str]  # alternatives; empty where nothing is known
    why: str = ""


def is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def check(words: Sequence[str], menu: Path) -> None:
    """Raises :class:`ConfigError` for the first word that is no flag and no override, with a corrected line.

    Args:
        words: those after the program's name. menu: the folder of the options.
    """
    known = Menu(menu, words)
    parts = list(_parts(list(words), known))
    wrong = [part for part in parts if part.why]
    if wrong:
        choices = itertools.product(*(part.instead or [""] for part in parts))
        advice = " | ".join(dict.fromkeys(_line(choice) for choice in itertools.islice(choices, 3)))
        answered = all(part.instead for part in wrong)
        raise ConfigError(f"{wrong[0].typed}: {wrong[0].why}\ntry  {advice if answered else '--help'}")


def _line(parts: Iterable[str]) -> str:
    """A command line; -m comes first and once, whatever parts ask for it."""
    words = [part.removeprefix("-m ") for part in parts if part not in ("", "-m")]
    if any(part == "-m" or part.startswith("-m ") for part in parts):
        words.insert(0, "-m")
    return " ".join(words) or "python -m lvexp"


def _parts(words: list[str], menu: Menu) -> Iterable[_Part]:
    many = "-m" in words or "--multirun" in words
    while words:
        word = words.pop(0)
        if word in _VALUED or (word.partition("=")[0] in _VALUED and word.startswith("--")):
            yield _flag(word, words)
        elif word in _FLAGS or word.startswith("--info="):
            yield _Part(word, [word])
            if word in ("-h", "--help") and words and not is_override(words[0]) and not words[0].startswith("-"):
                yield _Part(f"{word} {words.pop(0)}", [""], "the help is one page, of all groups")
            if word in ("-i", "--info") and words and words[0] in _INFO:
                yield _Part(words[0], [words.pop(0)])
        elif word.startswith("-") and word != "-":
            yield _dashed(word, words, menu)
        elif is_override(word) or (words and words[0].startswith("=")):
            yield _override(word, words, menu, many)
        elif word.startswith("~"):
            yield _Part(word, [quoted(word)])
        else:
            yield _bare(word, words, menu)


def _flag(word: str, words: list[str]) -> _Part:
    name, given, value = word.partition("=")
    allowed = _VALUED[name]
    if not given and (not words or words[0].startswith("-")):
        return _Part(word, [f"{name} {allowed[0]}"] if allowed else [f"{name} …"], "a value follows this flag")
    value = value if given else words.pop(0)
    if allowed and value not in allowed:
        instead = [f"{name} {allowed[0]}"]
        if value.endswith((".yaml", ".yml")):
            instead = _FILE
        return _Part(f"{name} {value}", instead, f"it is one of {', '.join(allowed)}")
    return _Part(f"{name} {value}", [f"{name} {quoted(value)}"])


def _dashed(word: str, words: list[str], menu: Menu) -> _Part:
    """``--key=value``, ``--key value``, ``--key``."""
    name, given, value = word.lstrip("-").partition("=")
    typed = word
    if not given and words and not words[0].startswith("-") and not is_override(words[0]):
        value = words.pop(0)
        typed = f"{word} {value}"
    why = "settings are written key=value, without dashes"
    name = name.replace("-", "_")
    if not given and not value and (answer := synonyms.COMMANDS.get(name.lower())) is not None:
        folder = answer.endswith("=")
        return _Part(typed, [f"{answer}DIR" if folder else answer], why if "=" in answer else "there is no such flag")
    if name in ("config", "config_file"):
        return _Part(typed, _FILE, "a file of settings is an option of a group")
    if name in ("resume", "evaluate", "finetune") and not value:
        return _Part(typed, [f"{name}=DIR"], why)
    if name in menu.keys and value:
        return _Part(typed, [quoted(f"{name}={value}")], why)
    found = [menu.choice(name, value)] if name in menu.groups and value else menu.meant(name, value or None)
    return _Part(typed, found, why if found else "there is no such flag")


def _override(word: str, words: list[str], menu: Menu, many: bool) -> _Part:
    """``key=value``, possibly with blanks around the sign or in a list."""
    typed, whole = word, word
    if word.endswith("=") and words and "=" not in words[0] and not words[0].startswith("-"):  # key= value
        if word.rstrip("=") in menu.groups or not many:
            value = words.pop(0)
            typed, whole = f"{word} {value}", word + value
    elif "=" not in word:  # key =value, key = value
        sign = words.pop(0)
        value = words.pop(0) if sign == "=" and words and "=" not in words[0] else ""
        typed, whole = " ".join(filter(None, (word, sign, value))), word + sign + value
    opened = [sign for sign in whole.partition("=")[2] if sign in "[{("]
    while words and not whole.count("'") and not whole.count('"') and _open(whole) and not _special(words[0]):
        piece = words.pop(0)
        typed, whole = f"{typed} {piece}", f"{whole} {piece}"
    key, _, value = whole.partition("=")
    if typed != word:
        tight = whole if "{" in value else _BLANKS.sub("", whole)
        why = "the shell splits words at blanks" if opened else f"{_NO_KEY}, without blanks"
        return _Part(typed, [quoted(tight)], why)
    if value.startswith("=") and len(value) > 1:
        return _Part(word, [quoted(f"{key}{value}")], "one sign is enough")
    if value.endswith((",", ";")) and value not in (",", ";"):
        return _Part(word, [quoted(word.rstrip(",;"))], "nothing separates settings but blanks")
    if (span := _RANGE.fullmatch(value)) and ((".." in value and key != "name") or key == "seed"):
        first, last = map(int, span.groups())
        several = f"range({first},{last + 1})" if last - first > 9 else ",".join(map(str, range(first, last + 1)))
        return _Part(word, [f"{'' if many else '-m '}{quoted(f'{key}={several}')}"], "is no number")
    if ";" in value and all("=" in piece for piece in word.split(";")):
        return _Part(word, [word.replace(";", " ")], "nothing separates settings but blanks")
    listed = re.fullmatch(r"[\[{]([\w.,-]+)[\]}]", value)
    if listed and key in menu.groups and key not in SEVERAL:
        several = "," in value
        instead = f"{'-m ' if several and not many else ''}{key}={listed[1]}"
        return _Part(word, [instead], "takes one option" if not several else "a job takes one option, a sweep several")
    if listed and key == "seed":
        return _Part(word, [f"{'' if many else '-m '}{key}={listed[1]}"], "is no number; a sweep takes several")
    if key in menu.groups and key != "data" and value.endswith(".yaml") and Path(value).stem in menu.options(key):
        return _Part(word, [f"{key}={Path(value).stem}"], "an option is named without .yaml")
    if key == "data" and value not in menu.options("data") and ("/" in value or value.endswith(TEXTS)):
        return _Part(word, [OWN.format(value=quoted(value))], "a file is no option of data")
    if re.fullmatch(r"[A-Z][A-Z0-9_]+", key) and key.lower() not in menu.groups:
        return _Part(word, [f"{word} python -m lvexp"], "variables of the environment go before the command")
    if key in menu.groups and word.startswith("+"):
        return _Part(word, [word.lstrip("+")], "this group has an option already")
    if words and (key in ("name", "paths.outputs") or key.startswith("data.files.")) and not _special(words[0]):
        pieces = [word]
        while words and not _special(words[0]):
            pieces.append(words.pop(0))
        return _Part(" ".join(pieces), [quoted(" ".join(pieces))], "the shell splits words at blanks")
    if many and words and words[0].partition("=")[0] == key and "=" not in words[0].partition("=")[2]:
        values = [value]
        while words and words[0].partition("=")[0] == key:
            values.append(words.pop(0).partition("=")[2])
        if len({*values}) > 1 and key not in menu.groups:
            typed = " ".join(f"{key}={one}" for one in values)
            return _Part(typed, [f"{key}={','.join(values)}"], "is given several times; a shell does that to {…}")
    if words and re.fullmatch(r"[\d.,]+", words[0]) and re.fullmatch(r"[\d.,]+", value):  # seed=1 2 3
        values = [value.strip(",")]
        while words and re.fullmatch(r"[\d.,]+", words[0]):
            values.append(words.pop(0).strip(","))
        several = f"{key}={','.join(values)}"
        return _Part(f"{word} {values[1]}", [several if many else f"-m {several}"], "values are separated by commas")
    return _Part(word, [quoted(word)])


def _is_tool(word: str) -> bool:
    """Whether ``python -m lvexp.WORD`` is a command on finished runs."""
    package = Path(__file__).parents[1]
    files = [package / f"{word}.py", package / word / "__main__.py"] if word.isidentifier() else []
    return any(file.is_file() and "command.carry_out(" in file.read_text(encoding="utf-8") for file in files)


def _special(word: str) -> bool:
    return "=" in word or word.startswith(("-", "~"))


def _open(word: str) -> bool:
    """Whether a bracket is not closed."""
    return any(word.count(sign) > word.count(_CLOSING[sign]) for sign in _CLOSING)


def _bare(word: str, words: list[str], menu: Menu) -> _Part:
    """A word without a sign: a command, an option, a key whose value follows, a file."""
    lower = word.lower().replace("-", "_")
    follows = words and not is_override(words[0]) and not words[0].startswith("-")
    key, sign, value = word.partition(":")
    if sign and menu.is_key(key):  # key:value
        return _Part(word, [quoted(f"{key}={value}")], _NO_KEY)
    if "/" in word and word.partition("/")[0] in menu.groups and not Path(word).exists():
        group, _, value = word.partition("/")
        return _Part(word, [f"{group}={value}"], _NO_KEY)
    if _is_tool(word):
        words.clear()
        return _Part(word, [f"python -m lvexp.{word} --help"], "is a command of its own")
    answer = synonyms.COMMANDS.get(lower)
    if answer is not None:
        if answer.endswith("="):
            folder = words.pop(0) if follows else "DIR"
            return _Part(word, [quoted(f"{answer}{folder}")], f"{_NO_KEY}, here the folder of a finished run")
        if answer == "--help":
            words.clear()
        why = "is no command" if answer else "is no command: training is what this one does"
        why = _NO_KEY if "=" in answer else why
        return _Part(word, [answer], why)
    if word in menu.keys or word in menu.groups or lower in synonyms.KEYS:
        value = words.pop(0) if follows else None
        if value is None and word in menu.groups:
            return _Part(word, [f"{word}={menu.chosen.get(word) or menu.options(word)[0]}"], _NO_KEY)
        found = [quoted(f"{word}={value}")] if word in menu.keys and value else menu.meant(word, value)
        return _Part(f"{word} {value}" if value else word, found, _NO_KEY)
    if groups := menu.groups_of(word):
        names = [next(one for one in menu.options(group) if plain(one) == plain(word)) for group in groups]
        found = [f"{group}={name}" for group, name in zip(groups, names, strict=True)]
        pair = [one for one in found if one.startswith(("encoder=", "decoder="))]
        if len(pair) == 2:
            found = [" ".join(pair)]
        chosen = [one for one in found if not one.startswith(("arm=", "search="))]
        return _Part(word, chosen or found, _NO_KEY)
    if word.endswith(TEXTS):
        return _Part(word, [OWN.format(value=quoted(word))], _NO_KEY)
    if word.endswith((".yaml", ".yml")):
        return _Part(word, _FILE, "a file of settings is an option of a group")
    return _Part(word, menu.meant(word, words.pop(0) if follows else None), _NO_KEY)
