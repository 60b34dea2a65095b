"""Forms of words given their tags, beside the right ones; and the tags that a model infers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torchmetrics import MeanMetric
from torchmetrics.functional.text import edit_distance

from lvexp.data import tags as structured
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import spread
from lvexp.models.base import LatentModel
from lvexp.models.msved import MSVED
from lvexp.networks.writing import Decoding
from lvexp.report.findings import Findings, Group, Row, Score, Section, number
from lvexp.report.verdict import verdict
from lvexp.shapes import Tensor

BEAM = 8  # hypotheses, and forms that the reciprocal rank looks at
_WORDS, _BUNDLES, _STEPS = 4, 8, 6  # of the paradigms that are shown, and of the interpolations
_OF = "tag_accuracy_of_"


class Inflection(Instrument):
    """Of the forms that beam search finds at the mean of q(z|x), against the right ones: ``accuracy``, the share that
    is equal; ``edit_distance``, its mean (Levenshtein); ``mrr``, the mean of 1/rank of the right form among the
    eight best, 0 where it is not among them. ``accuracy_greedy`` is that of greedy decoding, ``accuracy_wrong_z`` with
    the z of another word, and ``copy_accuracy``, ``copy_edit_distance`` are those of the source itself.

    ``known_forms`` is the share of the test forms that a pair of training has too; ``accuracy_new`` is the accuracy on
    the others; ``read_forms`` is the share that a pair of training has as its source. ``unlabelled_forms`` is the
    share of the test forms among the unlabelled words of training: above 0 the setting is transductive.

    Of the tags that q(y|x) finds most probable for the test forms, if it was trained to find them: ``tag_accuracy``,
    the share of right values, mean over keys, beside ``tag_majority``, that of the most frequent value of the test
    forms; ``tags_accuracy``, the share of forms of which all are right; and ``tag_accuracy_of_KEY``.

    Validations measure ``accuracy`` of greedy decoding and ``inflection_loss`` = 100 (1 - accuracy), if that selects
    the best one.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.right = MeanMetric(**context.metric).to(self.model.device)
        self.rows: list[int] = []
        self.sources: list[str] = []
        self.references: list[str] = []
        self.classes: list[list[int]] = []
        self.inferred: list[list[int]] = []
        self.found: list[list[str]] = []
        self.greedy: list[str] = []
        self.wrong: list[str] = []
        self.last: Tensor | None = None  # the code of the last word so far, which is another for the next

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, MSVED)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("accuracy", "inflection_loss") if isinstance(model, MSVED) and model.best == "accuracy" else ()

    def update(self, look: Look) -> None:
        model, batch, reading = self.model, look.terms.batch, look.terms.reading
        assert isinstance(model, MSVED)
        assert batch.source is not None
        assert batch.attributes is not None
        references = [model.vocabulary.decode(row) for row in batch.tokens.tolist()]
        code = model.code(reading)
        greedy = self._write(code, look, "greedy")
        if not self.context.alone:
            right = [a == b for a, b in zip(greedy, references, strict=True)]
            self.right.update(torch.tensor(right, dtype=torch.float, device=model.device))
            return
        assert batch.index is not None
        self.rows += batch.index.tolist()
        self.references += references
        self.sources += [model.vocabulary.decode(row) for row in batch.source.tolist()]
        self.classes += batch.attributes.tolist()
        if model.infers:
            self.inferred += model.inferred_tags(batch.tokens).tolist()
        self.greedy += greedy
        several = self._write(code, look, "beam")
        self.found += [several[at : at + BEAM] for at in range(0, len(several), BEAM)]
        before = code[-1:] if self.last is None else self.last
        self.wrong += self._write(torch.cat([before, code[:-1]]), look, "greedy")
        self.last = code[-1:]

    def _write(self, code: Tensor, look: Look, method: str) -> list[str]:
        several = {"beam": BEAM, "n_best": BEAM} if method == "beam" else {}
        how = Decoding(method, max_length=self.settings.max_decode, **several)
        return [self.model.vocabulary.decode(ids) for ids in self.model.write(code, how, look.terms.reading)]

    def measure(self) -> dict[str, Score]:
        if not self.context.alone:
            accuracy = float(self.right.compute())
            return {"accuracy": accuracy, "inflection_loss": 100 * (1 - accuracy)}
        best = [found[0] for found in self.found]
        found: dict[str, Score] = {
            "accuracy": _equal(best, self.references),
            "edit_distance": _distance(best, self.references),
            "mrr": _mean(_reciprocal(found, right) for found, right in zip(self.found, self.references, strict=True)),
            "accuracy_greedy": _equal(self.greedy, self.references),
            "accuracy_wrong_z": _equal(self.wrong, self.references),
            "copy_accuracy": _equal(self.sources, self.references),
            "copy_edit_distance": _distance(self.sources, self.references),
        }
        return found | self._seen(best) | self._tags()

    def _seen(self, best: Sequence[str]) -> dict[str, Score]:
        """The figures that depend on the training words; none without these."""
        if "train" not in self.context.splits:
            return {}
        pairs, alone, read = set[str](), set[str](), set[str]()
        decode = self.model.vocabulary.decode
        for batch in self.context.splits["train"]:
            assert batch.attributes is not None
            assert batch.source is not None
            shown = (batch.attributes >= 0).all(1).tolist()
            for ids, source, there in zip(batch.tokens.tolist(), batch.source.tolist(), shown, strict=True):
                (pairs if there else alone).add(decode(ids))
                read |= {decode(source)} if there else set()
        new = [at for at, reference in enumerate(self.references) if reference not in pairs]
        return {
            "known_forms": 1 - len(new) / len(self.references),
            "accuracy_new": _equal([best[at] for at in new], [self.references[at] for at in new]) if new else None,
            "read_forms": _mean(reference in read for reference in self.references),
            "unlabelled_forms": _mean(reference in alone for reference in self.references),
        }

    def _tags(self) -> dict[str, Score]:
        """The figures of inferred tags; none if the model infers none."""
        if not self.inferred:
            return {}
        truth, guess = torch.tensor(self.classes), torch.tensor(self.inferred)
        right = (truth == guess).float()
        majority = [Counter(column).most_common(1)[0][1] / len(column) for column in truth.T.tolist()]
        each = zip(self.model.attribute_names, right.mean(0).tolist(), strict=True)
        return {
            "tag_accuracy": float(right.mean()),
            "tag_majority": sum(majority) / len(majority),
            "tags_accuracy": float(right.all(1).float().mean()),
            **{f"{_OF}{key}": share for key, share in each},
        }

    def report(self, scores: Scores) -> Findings:
        return Findings(
            groups=[self.group(scores)], sections=[self._forms(), *self._paradigms(), *self._between()],
            verdict=_verdict(scores), files={"written.jsonl": self._file()},
        )  # fmt: skip

    @staticmethod
    def group(scores: Scores) -> Group:
        if scores.get("accuracy") is None:
            return "Inflection", []
        spread_of = 1.96 * math.sqrt(float(scores["accuracy"] or 0) * (1 - float(scores["accuracy"] or 0)))
        half = 100 * spread_of / math.sqrt(float(scores["sentences"] or 1))
        percent = {name: number(value, ".1%") for name, value in scores.items() if isinstance(value, float)}
        rows: list[Row] = [
            ("accuracy", f"{percent['accuracy']} ±{half:.1f}", "right", f"beam of {BEAM}; 95 %"),
            ("  greedy", percent["accuracy_greedy"], "right", ""),
            ("edit distance", number(scores["edit_distance"]), "characters", f"beam of {BEAM}"),
            ("reciprocal rank", number(scores["mrr"], ".3f"), "of 1", f"of the right form among the {BEAM} best"),
            (
                "copy", percent["copy_accuracy"], "right",
                f"the source itself; edit distance {number(scores['copy_edit_distance'])}",
            ),
            ("  z of another", percent["accuracy_wrong_z"], "right", "greedy, that of the word before"),
        ]  # fmt: skip
        if scores.get("known_forms") is not None:
            rows.append(("forms of training", percent["known_forms"], "of test", "the right form of a training pair"))
            if scores.get("accuracy_new") is not None:
                rows.append(("  others", percent["accuracy_new"], "right", "beam, forms that no pair has"))
            rows.append(("forms read", percent["read_forms"], "of test", "the source of a training pair"))
            what = "transductive" if scores["unlabelled_forms"] else "none of them: not transductive"
            rows.append(("unlabelled forms", percent["unlabelled_forms"], "of test", what))
        if scores.get("tag_accuracy") is not None:
            how = f"by q(y|x), mean over keys; majority {percent['tag_majority']}"
            rows.append(("tags", percent["tag_accuracy"], "right", how))
            rows.append(("  all of a form", percent["tags_accuracy"], "right", ""))
        rows += [(f"  {key[len(_OF) :]}", percent[key], "right", "") for key in scores if key.startswith(_OF)]
        return "Inflection", rows

    # --- texts ---------------------------------------------------------------------------------------------------

    def _forms(self) -> Section:
        rows = spread(len(self.references), self.settings.reconstructions)
        shown = [(self.sources[r], self._named(self.classes[r]), self.references[r], self.found[r][0]) for r in rows]
        lines = [
            line
            for source, tags, right, written in shown
            for line in (("  ", f"{source} + {tags}"), ("= ", right), ("→ ", written), ("", ""))
        ]
        return Section(
            "Forms", lines, "a word, the tags asked for, the right form (=), and what beam search finds (→)",
            columns=("source", "tags", "reference", "written"), rows=shown,
            brief=[f"{source} + {tags}\n→ {written or '(nothing)'}" for source, tags, _, written in shown[:3]], place=1,
        )  # fmt: skip

    def _paradigms(self) -> Iterable[Section]:
        """Some words with the tags of others that have the same keys, the most frequent first."""
        model = self.model
        assert isinstance(model, MSVED)
        counted = Counter(map(tuple, self.classes))
        for row in spread(len(self.sources), _WORDS):
            keys = [bool(value) for value in self.classes[row]]
            alike = [each for each, _ in counted.most_common() if [bool(value) for value in each] == keys][:_BUNDLES]
            named = [self._named(each) for each in alike]
            source = self.sources[row]
            written = model.inflect([source] * len(named), named, max_length=self.settings.max_decode)
            yield Section(
                f"Forms of {source}", [*zip([f"{each}  " for each in named], written, strict=True)],
                "the z of one word with different tags, greedy decoding", ("tags", "written"),
                [*zip(named, written, strict=True)], brief=[], place=2,
            )  # fmt: skip

    def _between(self) -> Iterable[Section]:
        """From the z of one word to that of another, with the tags of the first."""
        model = self.model
        assert isinstance(model, MSVED)
        for first in spread(len(self.sources) // 2, 2):
            row, other = first, first + len(self.sources) // 2
            tags = self._named(self.classes[row])
            words = [self.sources[row], self.sources[other]]
            reading = model.read(model.gathered([{"source": word, "text": "", "tags": tags} for word in words]))
            ends = model.code(reading)
            line = torch.stack([ends[0].lerp(ends[1], at / (_STEPS - 1)) for at in range(_STEPS)])
            how = Decoding(max_length=self.settings.max_decode)
            same = torch.zeros(_STEPS, dtype=torch.long, device=line.device)
            written = [model.vocabulary.decode(ids) for ids in model.write(line, how, reading[same])]
            yield Section(
                f"From {words[0]} to {words[1]}", [("  ", text) for text in written],
                f"on the line between their z, with the tags {tags}", ("written",), [(text,) for text in written],
                brief=[], place=3,
            )  # fmt: skip

    def _named(self, classes: Sequence[int]) -> str:
        """Tags as they are written in a file."""
        each = zip(self.model.attribute_names.items(), classes, strict=True)
        return structured.write({key: names[value] for (key, names), value in each if value > 0})

    def _file(self) -> str:
        lines = []
        for at in sorted(range(len(self.rows)), key=self.rows.__getitem__):
            kept = {"source": self.sources[at], "tags": self._named(self.classes[at]), "reference": self.references[at]}
            lines.append(json.dumps({**kept, "beam": self.found[at]}, ensure_ascii=False))
        return "\n".join(lines) + "\n"


def _verdict(scores: Scores) -> str:
    """The usual verdict on z, and how many forms are right."""
    right = (
        f"{number(scores['accuracy'], '.1%')} of the forms are right (copy {number(scores['copy_accuracy'], '.1%')})"
    )
    return f"{verdict(scores)}; {right}"


def _equal(found: Sequence[str], references: Sequence[str]) -> float:
    return _mean(a == b for a, b in zip(found, references, strict=True))


def _distance(found: Sequence[str], references: Sequence[str]) -> float:
    """Mean Levenshtein distance in characters."""
    return float(edit_distance(list(found), list(references), reduction="mean"))


def _reciprocal(found: Sequence[str], right: str) -> float:
    return 1 / (1 + found.index(right)) if right in found else 0.0


def _mean(values: Iterable[float]) -> float:
    known = [float(value) for value in values]
    return sum(known) / len(known)
