"""Whether a model imposes classes on what it writes: samples of each class, and texts transferred to another."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

import torch
from torchmetrics import MeanMetric

from lvexp.data import lines
from lvexp.data.batch import Batch
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import decode, spread
from lvexp.instruments.fluency import perplexity
from lvexp.metrics.bleu import mean_bleu
from lvexp.metrics.judge import Judge
from lvexp.metrics.rewriting import geometric, rewriting
from lvexp.models.attributes import AttributeModel, observed
from lvexp.models.base import LatentModel
from lvexp.models.control import ControlModel
from lvexp.models.records import batch as gathered
from lvexp.networks.writing import Decoding
from lvexp.report.findings import Findings, Group, Row, Score, Section, number
from lvexp.report.verdict import verdict
from lvexp.shapes import Int, Shaped, Tensor

SAMPLES = 500  # texts drawn for each class
FIT = 100_000  # the largest number of texts to fit the judge on
_OF = "attribute_accuracy_of_"
_SHOWN = 6  # values of z that are shown with each class


@dataclasses.dataclass(frozen=True)
class _Transferred:
    """A text that was written with another class of one attribute."""

    row: int
    text: str
    attribute: int
    to: int
    written: str


class Attributes(Instrument):
    r"""Of each attribute c, as judged by a classifier that is independent of the model
    (:class:`~lvexp.metrics.judge.Judge`, fitted on ``data.files.judge`` or, without such a file, on the validation
    texts) and right on ``judge_accuracy`` of the test texts or, where none has a label, on ``judge_cross_validated`` of
    its own texts, in five-fold cross-validation:

    - ``attribute_accuracy``: share of samples, z from its prior and c given, that are of the class c;
    - ``transfer_accuracy``: share of test texts that are of the class c' when written greedily from the mean of q(z|x)
      and another class c', the next one;
    - ``transfer_self_bleu``, ``transfer_self_bleu_corpus``: BLEU of these with the texts that they were made from, as a
      mean over texts without smoothing and of the corpus; ``transfer_g``: geometric mean of accuracy (in percent) and
      the first;
    - ``copy_accuracy``: of the texts as they are, whose self-BLEU is 100: what to beat;
    - with ``evaluation.references``, a file with a human rewrite for each test text, ``transfer_bleu`` and
      ``transfer_bleu_corpus`` with these, and ``copy_…``, ``human_…`` for the copy and for the rewrites;
    - with ``evaluation.language_model``, ``attribute_perplexity``, ``transfer_perplexity``, ``copy_perplexity`` (and of
      the rewrites ``human_perplexity``): perplexity per token of samples and of these texts under that model; the lower
      the more fluent, but dull texts have the lowest.

    With several attributes the figures are means over them, and ``NAME/…`` those of one. Validations of
    :class:`~lvexp.models.control.ControlModel` measure accuracy and self-BLEU of transfer, as q(c|x) of the model
    judges, and what selects the best one: ``transfer_loss`` = 100 - G, or ``generator_loss``, L_G in nats per text.
    """

    order = 45

    def __init__(self, context: Context):
        super().__init__(context)
        model = self.model
        assert isinstance(model, AttributeModel)
        # attribute → names of its classes; a corpus may have fewer than the latent variable
        self.classes = {
            name: [*known] or [str(number) for number in range(count)]
            for (name, known), (_, count) in zip(model.named.items(), model.latent.classes, strict=True)
        }
        self.transferred: list[_Transferred] = []
        self.right, self.kept, self.loss = (MeanMetric(**context.metric).to(model.device) for _ in range(3))
        self.texts: list[str] = []
        self.known: list[list[int]] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, AttributeModel)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        if not isinstance(model, ControlModel) or model.best == "bound":
            return ()
        return ("transfer_accuracy", "transfer_self_bleu", f"{model.best}_loss")

    # --- for each batch ------------------------------------------------------------------------------------------

    def update(self, look: Look) -> None:
        terms, model = look.terms, self.model
        assert isinstance(model, AttributeModel)
        classes = observed(terms.batch)
        if classes is None:
            return
        texts = [model.vocabulary.decode(row) for row in terms.batch.tokens.tolist()]
        if self.context.alone:
            self.texts += texts
            self.known += classes.tolist()
        elif isinstance(model, ControlModel) and model.best == "generator":
            assert terms.rate is not None
            self.loss.update(terms.distortion + terms.rate + model.guidance(terms))
        if len(self.transferred) >= self.settings.bleu_sentences:
            return
        point = model.latent.point(terms.q)
        for at, names in enumerate(self.classes.values()):
            rows = (classes[:, at] >= 0).nonzero()[:, 0]
            to = torch.full_like(classes[rows], -1)
            to[:, at] = (classes[rows, at] + 1) % len(names)
            written = self._write(point[rows], to)
            index = terms.batch.index
            numbers = rows.tolist() if index is None else index[rows].tolist()
            found = [
                _Transferred(number, texts[row], at, int(c), text)
                for number, row, c, text in zip(numbers, rows.tolist(), to[:, at], written, strict=True)
            ]
            self.transferred += found
            if not self.context.alone and found:
                self._judge_by_model(found)

    def _write(self, value: Shaped[Tensor, "N E"], classes: Int[Tensor, "N A"], method: str = "greedy") -> list[str]:
        """Texts for values of z in which some classes are replaced."""
        model, how = self.model, Decoding(method, max_length=self.settings.max_decode)
        assert isinstance(model, AttributeModel)
        return decode(model, model.latent.code(model.latent.fixed(value, classes)[None])[0], how)

    def _judge_by_model(self, found: Sequence[_Transferred]) -> None:
        """As a validation judges transferred texts."""
        model = self.model
        assert isinstance(model, AttributeModel)
        batch = gathered(model.vocabulary, [each.written for each in found]).to(model.device)
        logits = model.class_logits(model.params(model.read(batch)))[found[0].attribute]
        to = torch.tensor([each.to for each in found], device=model.device)
        self.right.update((logits.argmax(-1) == to).float())
        self.kept.update(mean_bleu([each.written for each in found], [each.text for each in found]) or 0.0, len(found))

    def measure(self) -> dict[str, Score]:
        if self.context.alone:
            return {}
        measured = (self.right, self.kept, self.loss)
        accuracy, kept, loss = (float(found.compute()) if found.update_called else 0.0 for found in measured)
        found = {"transfer_accuracy": accuracy, "transfer_self_bleu": kept, "generator_loss": loss}
        return {**found, "transfer_loss": 100 - geometric(accuracy, kept)}

    # --- the report ----------------------------------------------------------------------------------------------

    def report(self, scores: Scores) -> Findings:
        model, splits = self.model, self.context.splits
        assert isinstance(model, AttributeModel)
        own = "judge" in splits
        seen = _labelled(model, splits.get("judge", splits.get("valid", ())))
        prior = model.latent.prior()
        assert prior is not None, "the configuration requires a rate"
        drawn = prior.sample(torch.Size((SAMPLES,)))
        file = self.settings.references
        people = None if file is None else lines.rewrites(file, len(self.texts))
        measured: dict[str, dict[str, Score]] = {}
        for at, name in enumerate(self.classes):
            fitted = [(text, row[at]) for text, row in zip(*seen, strict=True) if row[at] >= 0]
            if len({c for _, c in fitted}) > 1:
                judge = Judge(*zip(*fitted, strict=True))
                measured[name] = {"judge_texts": len(fitted), **self._measure(at, judge, drawn, people)}
        found: dict[str, Score] = {"attributes": ", ".join(self.classes), "judge_held_out": own, **_means(measured)}
        if len(self.classes) > 1:
            found |= {f"{name}/{key}": value for name, part in measured.items() for key, value in part.items()}
        return Findings(
            found, self.groups(found), self._verdict({**scores, **found}), [*self._same_z(drawn), *self._transfers()],
            files={"written.jsonl": self._file()},
        )  # fmt: skip

    @staticmethod
    def _verdict(scores: Scores) -> str | None:
        """The usual verdict on z, and whether the classes are imposed on what is written."""
        if scores.get("attribute_accuracy") is None:
            return None
        judged = f"{number(scores['attribute_accuracy'], '.0%')} of samples are of the class asked for"
        return f"{verdict(scores)}; {judged} (real texts: {number(scores['judge_accuracy'], '.0%')})"

    def _measure(
        self, at: int, judge: Judge, drawn: Shaped[Tensor, "N E"], people: Sequence[str] | None
    ) -> dict[str, Score]:
        """The figures of one attribute."""
        real = [(text, row[at]) for text, row in zip(self.texts, self.known, strict=True) if row[at] >= 0]
        found: dict[str, Score] = {
            "judge_accuracy": judge.accuracy(*_columns(real)),
            "judge_cross_validated": None if real else judge.cross_validated(),
        }
        shares: list[float] = []
        samples: list[str] = []
        for c, label in enumerate([*self.classes.values()][at]):
            to = torch.full((len(drawn), len(self.classes)), -1, device=drawn.device)
            to[:, at] = c
            written = self._write(drawn, to, "sample")
            samples += written
            shares.append(judge.accuracy(written, [c] * len(drawn)) or 0.0)
            found[f"{_OF}{label}"] = shares[-1]
        found |= {"attribute_accuracy": sum(shares) / len(shares), "attribute_perplexity": self._perplexity(samples)}
        moved = [each for each in self.transferred if each.attribute == at]
        if not moved:
            return found
        to, texts = [each.to for each in moved], [each.text for each in moved]
        systems = {"transfer": [each.written for each in moved], "copy": texts}
        beside = None if people is None else [people[each.row] for each in moved]
        if beside is not None:
            systems["human"] = beside
        for name, written in systems.items():
            part = rewriting(written, to, texts, judge, None if name == "human" else beside)
            part["perplexity"] = self._perplexity(written)
            found |= {f"{name}_{key}": value for key, value in part.items()}
        return found

    def _perplexity(self, texts: Sequence[str]) -> float | None:
        """Per token, under the language model; None without one."""
        model = self.context.language_model
        return None if model is None or not texts else perplexity(model, texts)

    @classmethod
    def groups(cls, scores: Scores) -> list[Group]:
        """The rows of each attribute."""
        names = str(scores.get("attributes") or "").split(", ")
        found = []
        for name in names:
            start = f"{name}/" if len(names) > 1 else ""
            part = {key.removeprefix(start): value for key, value in scores.items() if key.startswith(start)}
            if part.get("attribute_accuracy") is not None:
                found.append(cls._rows(name, {**part, "judge_held_out": scores["judge_held_out"]}))
        return found

    @classmethod
    def _rows(cls, name: str, scores: Scores) -> Group:
        where = "texts kept apart" if scores["judge_held_out"] else "validation texts"
        right, of = scores["judge_accuracy"], "the test texts"
        if right is None:
            right, of = scores.get("judge_cross_validated"), "its own texts, cross-validated"
        rows: list[Row] = [
            (
                "judge", number(right, ".1%"), "right",
                f"of {of}: words and pairs, {scores['judge_texts']:,} {where}",
            ),
            (
                "samples", number(scores["attribute_accuracy"], ".1%"), "right",
                f"{SAMPLES} of each class, by the judge{cls._fluency(scores, 'attribute')}",
            ),
        ]  # fmt: skip
        for key, share in scores.items():
            if key.startswith(_OF):
                rows.append((f"  {key.removeprefix(_OF)}", number(share, ".1%"), "", ""))
        if scores.get("transfer_accuracy") is not None:
            systems = (("transfer", "to the next class"), ("copy", "texts as they are"), ("human", "rewrites"))
            for system, said in systems:
                if scores.get(f"{system}_accuracy") is None:
                    continue
                self_bleu = f"self-BLEU {number(scores[f'{system}_self_bleu'], '.1f')}"
                corpus = f" (corpus {number(scores[f'{system}_self_bleu_corpus'], '.1f')})"
                human = ""
                if scores.get(f"{system}_bleu") is not None:
                    human = f"; human BLEU {number(scores[f'{system}_bleu'], '.1f')}"
                    human += f" (corpus {number(scores[f'{system}_bleu_corpus'], '.1f')})"
                accuracy, g = number(scores[f"{system}_accuracy"], ".1%"), number(scores[f"{system}_g"], ".1f")
                how = f"{said}; {self_bleu}{corpus}; G {g}{human}{cls._fluency(scores, system)}"
                rows.append((system, accuracy, "right", how))
        return f"Attribute {name}", rows

    @staticmethod
    def _fluency(scores: Scores, name: str) -> str:
        found = scores.get(f"{name}_perplexity")
        return "" if found is None else f"; perplexity {number(found, '.1f')}"

    def _same_z(self, drawn: Shaped[Tensor, "N E"]) -> Iterable[Section]:
        """The same values of z with each class."""
        some, named = drawn[:_SHOWN], [*self.classes.values()]
        every = torch.cartesian_prod(*(torch.arange(len(labels)) for labels in named)).view(-1, len(named))
        names = [" ".join(labels[c] for labels, c in zip(named, row, strict=True)) for row in every.tolist()]
        written = [self._write(some, row.to(drawn.device).expand(len(some), -1)) for row in every]
        rows = [*zip(*written, strict=True)]
        read = [pair for row in rows for pair in [*((f"{n}  ", t) for n, t in zip(names, row, strict=True)), ("", "")]]
        yield Section(
            "Same z, each class", read, "greedy decoding of draws of z from its prior, with each class", names, rows,
            [f"{name}: {text or '(nothing)'}" for row in rows[:2] for name, text in zip(names, row, strict=True)], 1,
        )  # fmt: skip

    def _transfers(self) -> Iterable[Section]:
        rows = [self.transferred[at] for at in spread(len(self.transferred), self.settings.reconstructions)]
        if rows:
            shown = [(each.text, self._name(each), each.written) for each in rows]
            read = [pair for text, c, new in shown for pair in (("  ", text), (f"→ {c}  ", new), ("", ""))]
            yield Section(
                "Transferred texts", read, "test texts, written again from the mean of q(z|x) and another class",
                ("text", "class", "written"), shown,
                [f"{text}\n→ {new or '(nothing)'}" for text, _, new in shown[:3]], 1,
            )  # fmt: skip

    def _name(self, each: _Transferred) -> str:
        """The class that a text was given."""
        return [*self.classes.values()][each.attribute][each.to]

    def _file(self) -> str:
        found, names = [], [*self.classes]
        for each in sorted(self.transferred, key=lambda each: (each.attribute, each.row)):
            to = {names[each.attribute]: self._name(each)}
            found.append(json.dumps({"text": each.text, **to, "written": each.written}, ensure_ascii=False))
        return "".join(f"{line}\n" for line in found)


def _means(measured: Mapping[str, Mapping[str, Score]]) -> dict[str, Score]:
    """The figures, as means over the attributes that have them."""
    means: dict[str, Score] = {}
    for key in dict.fromkeys(key for part in measured.values() for key in part):
        known = [value for part in measured.values() if isinstance(value := part.get(key), float | int)]
        means[key] = known[0] if len(known) == 1 else sum(known) / len(known) if known else None
    return means


def _columns(pairs: Sequence[tuple[str, int]]) -> tuple[list[str], list[int]]:
    return [text for text, _ in pairs], [c for _, c in pairs]


def _labelled(model: AttributeModel, batches: Iterable[Batch]) -> tuple[list[str], list[list[int]]]:
    """Texts and their classes."""
    texts: list[str] = []
    known: list[list[int]] = []
    for batch in batches:
        classes = observed(batch)
        if classes is None or len(texts) >= FIT:
            break
        texts += [model.vocabulary.decode(row) for row in batch.tokens.tolist()]
        known += classes.tolist()
    return texts, known
