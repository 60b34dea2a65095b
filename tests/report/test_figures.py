from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lvexp.instruments.base import Context
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.projection import Projection
from lvexp.instruments.settings import EvaluationSettings
from lvexp.instruments.units import Units
from lvexp.report import curves, figures
from lvexp.report.projection import projection_figure

SMALL = EvaluationSettings(iw_samples=2, samples=2, max_decode=4)


def history(epochs=6, per_epoch=20, keys=("distortion", "rate", "beta")):
    """What a run logs: training at each tenth step, validation at the end of each epoch."""
    rng, rows = np.random.default_rng(0), []
    for entry in range(epochs * per_epoch):
        step = 10 * entry + 9
        row = {"step": step, "epoch": entry // per_epoch}
        row |= {f"train/{key}": 30 + 20 * math.exp(-step / 300) + rng.normal() for key in keys}
        if (entry + 1) % per_epoch == 0:
            epoch = entry // per_epoch
            nelbo = 36.0 + abs(epoch - 3)
            row |= {"val/distortion": nelbo - 2, "val/nelbo": nelbo}
            if "rate" in keys:
                row |= {"val/rate": 2.0, "val/active_units": 4.0 + epoch, "val/mi": 1.5}
        rows.append(row)
    return rows


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def panel(figure, start):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(start))


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def check_png(path, least=(500, 400)):
    """A PNG of a size to read, with ink on it but not all ink."""
    assert path.read_bytes().startswith(b"\x89PNG")
    with Image.open(path) as image:
        assert image.width >= least[0]
        assert image.height >= least[1]
        shade = np.asarray(image.convert("L"))
    assert 0.005 < (shade < 200).mean() < 0.5


def overlaps(figure):
    """Pairs of texts (titles, axis labels, tick labels, legends) that lie on each other, or out of the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = []
    for axes in figure.axes:
        texts = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        low, high = sorted(axes.get_xlim())
        texts += [t for t, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True) if low <= at <= high]
        low, high = sorted(axes.get_ylim())
        texts += [t for t, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True) if low <= at <= high]
        boxes += [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    if figure.get_suptitle():
        boxes.append((figure.get_suptitle(), figure._suptitle.get_window_extent(renderer)))
    whole = figure.bbox
    found = [
        name for name, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.x1 + 1 or box.y1 > whole.y1 + 1
    ]
    return found + [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[:i] if x.overlaps(y)]


def test_curves_of_a_vae_have_all_six_panels():
    figure = curves.curves_figure(history())
    assert titles(figure) == [
        "Distortion D",
        "Rate R",
        "−ELBO, validation",
        "β, weight of the rate",
        "Active units, validation",
        "Mutual information, validation",
    ]
    assert panel(figure, "Rate").get_ylabel() == "nats per text"
    assert panel(figure, "Rate").get_xlabel() == "step"
    assert legend(panel(figure, "Distortion")) == ["train", "validation"]
    assert panel(figure, "β").get_ylim()[0] == 0
    assert not overlaps(figure)


def test_curves_mark_the_best_epoch():
    axes = panel(curves.curves_figure(history()), "−ELBO")
    assert legend(axes)[-1] == "best: 36.00 (epoch 4)"
    star = axes.lines[-1]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([799], [36.0])


def test_curves_mark_the_best_of_what_a_model_is_judged_by():
    rows = history()
    for row in rows:
        row |= {"val/ppl_document": 900.0 + row["val/nelbo"] % 4} if "val/nelbo" in row else {}
    figure = curves.curves_figure(rows, ("ppl_document", "ppl/doc."))
    assert [line.get_marker() for line in panel(figure, "−ELBO").lines] == ["o"], "no star"
    lowest = min((row for row in rows if "val/ppl_document" in row), key=lambda row: row["val/ppl_document"])
    star = panel(figure, "ppl/doc., validation").lines[-1]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([lowest["step"]], [lowest["val/ppl_document"]])
    assert star.get_marker() == "*"
    assert not overlaps(figure)


def test_curves_leave_out_what_a_language_model_lacks():
    figure = curves.curves_figure(history(keys=("distortion", "beta")))
    assert titles(figure) == ["Distortion D", "−ELBO, validation"]
    assert "β" not in figure.get_suptitle()
    assert not overlaps(figure)


def test_curves_of_an_auto_encoder_mark_the_best_distortion():
    rows = [{key: value for key, value in row.items() if key != "val/nelbo"} for row in history(keys=("distortion",))]
    figure = curves.curves_figure(rows, ("distortion", "D"))
    assert titles(figure) == ["Distortion D"]
    assert legend(panel(figure, "Distortion"))[-1] == "best: 34.00 (epoch 4)"
    unjudged = [{key: value for key, value in row.items() if not key.startswith("val/")} for row in rows]
    assert len(panel(curves.curves_figure(unjudged, ("distortion", "D")), "Distortion").lines) == 2, "no star"


def test_curves_of_validations_alone_speak_of_no_training():
    rows = [{key: value for key, value in row.items() if not key.startswith("train/")} for row in history()]
    figure = curves.curves_figure([row for row in rows if "val/nelbo" in row])
    assert figure.get_suptitle() == "Validation with β = 1"
    assert panel(figure, "Distortion").get_legend() is None
    assert "β, weight of the rate" not in titles(figure)


def test_one_odd_batch_does_not_flatten_the_curve():
    rows = history()
    rows[50]["train/distortion"] = 10_000.0
    assert panel(curves.curves_figure(rows), "Distortion").get_ylim()[1] < 100


@pytest.mark.parametrize("rows", [[], history(epochs=1, per_epoch=1)], ids=["nothing", "one step"])
def test_curves_of_a_run_cut_short(rows, tmp_path):
    figures.curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_smoothing_keeps_ends_and_length():
    values = [0.0] * 100 + [1.0] * 100
    smooth = curves._smooth(values)
    assert len(smooth) == 200
    assert (smooth[0], smooth[-1]) == (0.0, 1.0)
    assert 0.4 < smooth[99] < 0.6


def test_rates_are_sorted_and_active_ones_coloured():
    figure = figures.rate_figure([0.0, 2.0, 0.5, 0.001], [0.0, 0.9, 0.02, 0.01])
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2.0, 0.5, 0.001, 0.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "0"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert axes.get_title(loc="left") == "Rate per dimension: 2.50 nats in all, 2 of 4 dimensions active"
    assert legend(axes) == ["active: Var(mean) > 0.01", "inactive: Var(mean) ≤ 0.01"]
    assert "nats" in axes.get_ylabel()


def test_the_stated_threshold_is_the_one_used():
    axes = figures.rate_figure([1.0, 2.0], [0.05, 0.2], threshold=0.1).axes[0]
    assert "1 of 2 dimensions active" in axes.get_title(loc="left")
    assert legend(axes)[0] == "active: Var(mean) > 0.1"


def test_rates_without_variances_name_no_dimension_active():
    axes = figures.rate_figure([1.0, 2.0], None).axes[0]
    assert "active" not in axes.get_title(loc="left")
    assert axes.get_legend() is None


def test_a_collapsed_model_s_bars_are_not_blown_up():
    assert figures.rate_figure([1e-5, 1e-4], [0.0, 0.0]).axes[0].get_ylim()[1] == pytest.approx(0.1)


@pytest.mark.parametrize("dims", [1, 16, 32, 256])
def test_rate_texts_do_not_overlap(dims):
    rates = np.random.default_rng(0).gamma(0.3, 1, dims).tolist()
    assert not overlaps(figures.rate_figure(rates, rates))


def cloud(texts=200, dims=8, classes=4, scale=3.0):
    rng = np.random.default_rng(0)
    labels = np.arange(texts) % classes
    means = rng.normal(size=(classes, dims))[labels] * scale + rng.normal(size=(texts, dims)) * scale / 3
    return means.tolist(), labels.tolist()


def points(axes):
    return np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections])


def test_projection_shows_each_text_once_and_the_variance():
    means, labels = cloud()
    axes = projection_figure(means, labels, ["a", "b", "c", "d"]).axes[0]
    spread = np.linalg.svd(np.asarray(means) - np.mean(means, 0), compute_uv=False) ** 2
    share = spread[0] / spread.sum()
    assert axes.get_xlabel() == f"component 1 ({share:.0%} of the variance)"
    shown = points(axes)
    assert shown.shape == (200, 2)
    assert (shown**2).sum(0) == pytest.approx(spread[:2])
    assert legend(axes) == ["a (50)", "b (50)", "c (50)", "d (50)"]
    assert "200 texts" in axes.get_title(loc="left")


def test_projection_gives_a_class_one_look_and_classes_different_ones():
    means, labels = cloud(classes=12)
    figure = projection_figure(means, labels, [f"class {n}" for n in range(12)])
    looks = [(handle.get_color(), handle.get_marker()) for handle in figure.axes[0].get_legend().legend_handles]
    assert len(set(looks)) == 12
    assert not overlaps(figure)


def test_projection_gathers_rare_and_missing_labels():
    means, labels = cloud(texts=300, classes=30)
    labels = [label if row < 290 else -1 for row, label in enumerate(labels)]
    axes = projection_figure(means, labels, ["a very long name of a class, over many words"] * 30).axes[0]
    names = legend(axes)
    assert len(names) == 16 + 2
    assert names[-1] == "no label (10)"
    assert names[-2].startswith("14 rarer (")
    assert all(len(name) < 40 for name in names)
    assert len(points(axes)) == 300


@pytest.mark.parametrize("labels", [None, [-1] * 200], ids=["none", "unobserved"])
def test_projection_without_labels(labels):
    means, _ = cloud()
    figure = projection_figure(means, labels, ["a"])
    assert figure.axes[0].get_legend() is None


def test_a_collapsed_posterior_is_a_dot():
    means, labels = cloud(scale=1e-3)
    axes = projection_figure(means, labels, list("abcd")).axes[0]
    assert np.abs(points(axes)).max() < 0.02 * axes.get_xlim()[1]
    same = projection_figure([[1.0, 1.0, 1.0]] * 5, [0] * 5, ["a"]).axes[0]
    assert same.get_xlabel() == "component 1 (0% of the variance)"


def test_a_code_of_one_dimension_is_drawn_on_a_line():
    means, labels = cloud(dims=1)
    assert points(projection_figure(means, labels, list("abcd")).axes[0])[:, 1] == pytest.approx(0)


def test_files_are_pictures_and_pyplot_is_left_alone(tmp_path):
    import sys

    before = "matplotlib.pyplot" in sys.modules
    means, labels = cloud()
    figures.curves(history(), tmp_path / "new" / "curves.png")
    figures.rate_per_dimension([0.2, 3.0], [0.0, 1.0], tmp_path / "rate.png")
    figures.projection(means, labels, list("abcd"), tmp_path / "projection.png")
    for path in ("new/curves.png", "rate.png", "projection.png"):
        check_png(tmp_path / path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"curves.png", "rate.png", "projection.png"}
    assert before or "matplotlib.pyplot" not in sys.modules


@pytest.fixture
def _unwritten(monkeypatch):
    """Draws figures without rendering them, which takes longest."""
    monkeypatch.setattr(figures, "_write", lambda figure, path: path.touch())


@pytest.mark.usefixtures("_unwritten")
def test_all_figures_of_a_run(tmp_path, evaluation):
    drawn = figures.draw(tmp_path, history(), evaluation.pictures, evaluation.monitor)
    assert [path.name for path in drawn] == ["curves.png", "rate_per_dimension.png", "projection.png"]
    assert sorted(drawn) == sorted(tmp_path.iterdir())


@pytest.mark.usefixtures("_unwritten")
def test_a_model_without_z_or_that_diverged_has_its_curves_only(tmp_path):
    bare = evaluate(tiny.model("none"), tiny.corpus(), SMALL)
    assert [path.name for path in figures.draw(tmp_path, history(), bare.pictures, bare.monitor)] == ["curves.png"]
    rows = [{**row, "train/distortion": math.nan, "val/nelbo": math.nan} for row in history()]
    units, projection = (kind(Context(tiny.model().eval(), SMALL)) for kind in (Units, Projection))
    units.rates.compute = lambda: {"rate_per_dimension": [math.nan] * 2}
    projection.means = [torch.tensor([[math.inf, 0.0]] * 3)]
    diverged = {**units.report({}).pictures, **projection.report({}).pictures}
    assert [path.name for path in figures.draw(tmp_path, rows, diverged, bare.monitor)] == ["curves.png"]
    assert "−ELBO, validation" not in titles(curves.curves_figure(rows))
