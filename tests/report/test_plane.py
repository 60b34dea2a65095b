"""The picture of rate, distortion and mutual information."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from results import result

from lvexp.errors import RunError
from lvexp.report import compare, plane

KEPT = Path(__file__).parents[2] / "docs" / "remedies.jsonl"


def picture(runs: list) -> Figure:
    (table,) = compare.tables(runs)
    return plane.picture(table)


def key(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def numbers(text: str) -> set[int]:
    """The groups that a label names."""
    found: set[int] = set()
    for part in text.replace("\n", " ").split(", "):
        first, _, last = part.partition("–")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def crowded(count: int) -> list[dict]:
    draw = random.Random(3)
    runs = []
    for number in range(count):
        rate = draw.choice([0.0, 0.01, 3.0, draw.uniform(0, 6)])
        for seed in (1, 2):
            noise = draw.gauss(0, 0.05)
            figures = {"rate": rate + abs(noise), "distortion": 30 - rate + noise, "mi": 0.5 * rate + abs(noise)}
            runs.append(result(str(number), seed, [f"latent.dim={number}", f"optimizer.lr=0.{number:06}"], **figures))
    return runs


def test_the_picture_holds_a_point_for_each_group_with_a_rate():
    runs = [*(result("a", seed, ["anneal=linear"], rate=2.0, distortion=4.0) for seed in (1, 2)), result("b", 1)]
    runs[2]["test"] |= {"distortion": 1.5}
    figure = picture(runs)
    assert key(figure) == ["1  anneal=linear  (6.00)"]
    assert len(figure.axes) == 1  # no mutual information is known


def test_a_group_far_above_all_others_is_told_in_words_and_does_not_press_them_together():
    rows = [("a", 30.0), ("b", 30.5), ("c", 29.5), ("d", 29.8), ("far", 60.0)]
    figure = picture([result(name, 1, [f"arm={name}"], distortion=height, rate=1.0, mi=0.5) for name, height in rows])
    assert figure.axes[0].get_ylim()[1] < 35
    assert key(figure)[-1] == "5  far  (61.00; D 60.0, above the frame)"
    assert plane._ranges([1, 2, 3, 5, 7, 8]) == "1–3, 5, 7–8"


@pytest.mark.parametrize("kept", [True, False])
def test_labels_of_forty_groups_do_not_overlap_hide_points_or_leave_the_frame(kept: bool):
    figure = picture(compare.finished(KEPT) if kept else crowded(40))
    figure.draw_without_rendering()
    names = key(figure)
    assert [int(name.split()[0]) for name in names] == list(range(1, len(names) + 1))
    for axes, count in zip(
        figure.axes, (sum("above the frame" not in name for name in names), len(names)), strict=True
    ):
        labels = [text for text in axes.texts if text.get_text()]
        told = [numbers(label.get_text()) for label in labels]
        assert sum(map(len, told)) == len(set().union(*told)) == count
        boxes = [label.get_window_extent() for label in labels]
        for one, other in itertools.combinations(boxes, 2):
            assert not one.padded(-1).overlaps(other.padded(-1))
        points = [axes.transData.transform(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o"]
        assert len(points) == count
        for box in boxes:
            assert axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)  # noqa: PT018
            assert axes.bbox.containsy(box.y0) and axes.bbox.containsy(box.y1)  # noqa: PT018
            assert not any(box.contains(*point) for point in points)


def test_the_key_stays_within_the_page_and_names_are_whole():
    figure = picture(crowded(60))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.x1 + 1
    assert all(f"latent.dim={number} " in " ".join(key(figure)).replace("\n", " ") for number in range(60))


def test_the_corpus_is_named_where_there_are_several():
    (table,) = compare.tables([result("a", 1, rate=1.0, distortion=2.0)])
    titles = [plane.picture(table, named=named).legends[0].get_title().get_text() for named in (True, False)]
    assert titles == ["snips\nby −ELBO = D + R, in brackets", "by −ELBO = D + R, in brackets"]


def test_without_a_rate_there_is_nothing_to_draw():
    (table,) = compare.tables([result("a", 1, nll=1.0, distortion=1.0)])
    assert not plane.priced(table)
    with pytest.raises(RunError, match="none of these runs has a rate"):
        plane.picture(table)


def test_of_very_many_groups_the_best_at_their_rate_are_named_and_all_are_drawn():
    runs = crowded(300)
    figure = picture([*runs, result("far", 1, ["arm=far"], rate=1.0, distortion=90.0, mi=0.5)])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    title = legend.get_title().get_text().replace("\n", " ")
    assert title == "24 of 301 groups, the best at their rate, by −ELBO = D + R, in brackets; 1 above the frame"
    ranks = [int(name.split()[0]) for name in key(figure)]
    assert ranks == sorted(ranks)
    assert (len(ranks), ranks[0]) == (24, 1)
    assert legend.get_window_extent().y0 >= 0
    for axes, count in zip(figure.axes, (300, 301), strict=True):
        dots = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
        assert sum(dots) == count
        told = [numbers(text.get_text()) for text in axes.texts if text.get_text()]
        assert set().union(*told) == set(ranks)
