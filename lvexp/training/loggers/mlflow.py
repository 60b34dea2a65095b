"""MLflow, by Lightning's own logger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lvexp.training.loggers.base import Report, RunInfo, Tracker

#: tag by which a run finds itself again when it is resumed
RUN_ID = "lvexp.run_id"


class MLflow(Tracker):
    """A run in an MLflow experiment; an interrupted run continues in the same one.

    Args:
        experiment: its name. tracking_uri: a server, or a database such as ``sqlite:///outputs/mlflow.db``.
        log_model: stores the best checkpoint as an artifact.
    """

    title, package = "MLflow", "mlflow"

    def __init__(
        self, info: RunInfo, experiment: str = "lvexp", tracking_uri: str | None = None, log_model: bool = False
    ):
        super().__init__(info)
        self.experiment, self.tracking_uri, self.log_model = experiment, tracking_uri, log_model

    def begin(self) -> Any:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        for name in ("mlflow", "alembic"):  # what they do to a new database
            logging.getLogger(name).setLevel(logging.WARNING)
        client, info = MlflowClient(self.tracking_uri), self.info
        there = client.get_experiment_by_name(self.experiment)
        found = client.search_runs([there.experiment_id], f"tags.`{RUN_ID}` = '{info.run_id}'") if there else []
        tags = {RUN_ID: info.run_id, "lvexp.group_id": info.group_id, "lvexp.tags": ",".join(info.tags)}
        run = MLFlowLogger(
            self.experiment, info.name, self.tracking_uri, {**tags, "mlflow.source.git.commit": str(info.commit)},
            artifact_location=self._artifacts(), run_id=found[0].info.run_id if found else None,
        )  # fmt: skip
        if not found:
            run.log_hyperparams(dict(info.config))
        return run

    def _artifacts(self) -> str | None:
        """The folder of files, beside a database in a file; None where a server decides."""
        database = (self.tracking_uri or "").removeprefix("sqlite:///")
        return None if database == (self.tracking_uri or "") else Path(database).absolute().with_name("mlflow").as_uri()

    def write(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        run.log_metrics(metrics, step)

    def report(self, run: Any, report: Report) -> None:
        run.log_metrics(report.figures_of())
        client, run_id = run.experiment, run.run_id
        client.set_tag(run_id, "lvexp.verdict", str(report.result.get("verdict")))
        for name, (columns, rows) in report.tables().items():
            by_column = {column: [row[at] for row in rows] for at, column in enumerate(columns)}
            client.log_dict(run_id, by_column, f"texts/{name}.json")
        for path in report.figures:
            client.log_artifact(run_id, str(path), "figures")
        if self.log_model and report.checkpoint is not None and report.checkpoint.is_file():
            client.log_artifact(run_id, str(report.checkpoint), "checkpoints")

    def end(self, run: Any, failed: bool) -> None:
        run.finalize("failed" if failed else "success")
