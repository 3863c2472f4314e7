"""The result of a search."""

from collections.abc import Sequence
from typing import Any

from rich.jupyter import JupyterMixin

from keras_distill._core.messages import expected


class TuningResult(JupyterMixin):
    """Hold the trials of a search, best first.

    Args:
        tuner: The `keras_tuner.Tuner` after its search.
        knobs: Names of the knobs that were searched.

    Attributes:
        objective: Name of the log that the search optimized.
        trials: List of dicts: `values` (of the knobs), `score` (of the objective), `epochs` (up to the best one) and
            `id` (of the trial, as in TensorBoard).
        tuner: The tuner, for its other methods.

    Raises:
        ValueError: If no trial finished.
    """

    def __init__(self, tuner: Any, knobs: Sequence[str]) -> None:
        self.tuner = tuner
        self.objective: str = tuner.oracle.objective.name
        self._knobs = knobs
        done = [trial for trial in tuner.oracle.trials.values() if trial.score is not None]
        if not done:
            raise ValueError(expected("at least one trial that finished", f"{len(tuner.oracle.trials)} failed trials"))
        sign = -1.0 if tuner.oracle.objective.direction == "max" else 1.0
        self.trials = [self._record(trial) for trial in sorted(done, key=lambda trial: sign * trial.score)]

    def _record(self, trial: Any) -> dict[str, Any]:
        values = trial.hyperparameters.values
        epochs = values.get("tuner/epochs", None)
        return {
            "id": trial.trial_id,
            "values": {name: values[name] for name in self._knobs},
            "score": float(trial.score),
            "epochs": trial.best_step + 1 if epochs is None else epochs,
        }

    @property
    def best(self) -> dict[str, float]:
        """Values of the best trial, a dict."""
        return dict(self.trials[0]["values"])

    def best_distiller(self) -> Any:
        """Return the distiller of the best trial, with the student's weights of its best epoch."""
        return self.tuner.get_best_models(1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the objective and the trials as JSON types."""
        return {"objective": self.objective, "trials": self.trials}

    def __repr__(self) -> str:
        best = ", ".join(f"{name}={value:.4g}" for name, value in self.best.items())
        return f"<TuningResult of {len(self.trials)} trials: {self.objective}={self.trials[0]['score']:.4f} at {best}>"

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table(title=f"{len(self.trials)} trials by {self.objective}", title_justify="left", header_style="dim")
        for column in (*self._knobs, "epochs", self.objective):
            table.add_column(column, justify="right")
        for trial in self.trials:
            values = [f"{trial['values'][name]:.4g}" for name in self._knobs]
            table.add_row(*values, str(trial["epochs"]), f"{trial['score']:.4f}")
        return table
