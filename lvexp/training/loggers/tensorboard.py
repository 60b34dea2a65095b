"""TensorBoard, by Lightning's own logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvexp.training.loggers.base import Report, RunInfo, Tracker


class TensorBoard(Tracker):
    """Event files in the folder ``tensorboard`` of the run folder; ``tensorboard --logdir outputs`` shows all runs.

    The figures of the best validation and of the test set are those of the HPARAMS tab.
    """

    title, package = "TensorBoard", "tensorboard"

    def __init__(self, info: RunInfo):
        super().__init__(info)

    def begin(self) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(self.info.folder, name="", version="tensorboard", default_hp_metric=False)

    def write(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        run.log_metrics(dict(metrics), step)

    def report(self, run: Any, report: Report) -> None:
        import matplotlib.image

        run.log_hyperparams(dict(self.info.config), metrics=report.figures_of())
        run.experiment.add_text("verdict", str(report.result.get("verdict")))
        for name, (columns, rows) in report.tables().items():
            run.experiment.add_text(f"texts/{name}", _table(columns, rows))
        for path in report.figures:
            run.experiment.add_image(f"figures/{path.stem}", matplotlib.image.imread(path), dataformats="HWC")

    def end(self, run: Any, failed: bool) -> None:
        run.finalize("failed" if failed else "success")


def _table(columns: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
