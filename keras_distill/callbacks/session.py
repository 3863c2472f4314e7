"""One training as a row of TensorBoard's HParams table: hyper-parameters, metrics and final status."""

import os
import time
from typing import Any

import keras
import numpy as np
from keras import ops


def hyper_parameters(distiller: Any) -> dict[str, Any]:
    """Return the hyper-parameters of a distillation, a dict from names to numbers and strings.

    Args:
        distiller: A compiled `Distiller`.
    """
    # Mixed precision wraps the user's optimizer in one that scales the loss.
    optimizer = getattr(distiller.optimizer, "inner_optimizer", distiller.optimizer)
    rate = optimizer.get_config()["learning_rate"]
    names = distiller.objective.names
    found = {
        "teacher": distiller.teacher.name,
        "teacher_parameters": _count_parameters(distiller.teacher),
        "student": distiller.student.name,
        "student_parameters": _count_parameters(distiller.student),
        "distillation_losses": " + ".join(names),
        **{f"{name}_weight": weight for name, weight in zip(names, distiller.distillation_loss_weights, strict=True)},
        "student_loss": " + ".join(map(_find_name, keras.tree.flatten(distiller.loss))),
        "student_loss_weight": distiller.student_loss_weight,
        "optimizer": type(optimizer).__name__,
        "learning_rate": float(ops.convert_to_numpy(optimizer.learning_rate)),
        "learning_rate_schedule": rate["class_name"] if isinstance(rate, dict) else "constant",
    }
    return found if distiller.temperature is None else {**found, "temperature": distiller.temperature}


def batch_size(distiller: Any, batch: int, steps: int | None) -> int | None:
    """Return the batch size after some steps of the first epoch, or `None` if it is unknown.

    Args:
        distiller: A `Distiller` in training.
        batch: Index of the last completed training step.
        steps: Number of training steps in an epoch, or `None`.
    """
    done = batch + 1
    # The last batch of an epoch may be smaller. On JAX the counts are available only at the end of an epoch.
    samples = int(ops.convert_to_numpy(distiller.objective.trackers["distillation_loss"].count))
    return samples // done if samples and (done == 1 or done < (steps or 0)) else None


class Session:
    """Write one training to the HParams plugin.

    Each session is a run of its own, because TensorBoard keeps the first final status of a run: a training that resumed
    after an interruption would count as interrupted for good.

    Args:
        folder: Folder of the sessions of this training: `session_1`, `session_2`, ...
        name: Name of the training in the table.
    """

    def __init__(self, folder: str, name: str):
        import tensorflow as tf

        number = 1
        while tf.io.gfile.exists(run := os.path.join(folder, f"session_{number}")):
            number += 1
        self._name = name if number == 1 else f"{name} ({number})"
        self._writer = tf.summary.create_file_writer(run)
        self._begin = time.time()
        self.started = False

    def start(self, values: dict[str, Any]) -> None:
        """Write the hyper-parameters."""
        from tensorboard.plugins.hparams import api

        with self._writer.as_default():
            api.hparams(values, trial_id=self._name, start_time_secs=self._begin)
        self._writer.flush()
        self.started = True

    def write_metrics(self, values: dict[str, float], step: int) -> None:
        """Write the metrics of an epoch; the table shows those of the last one."""
        import tensorflow as tf

        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"metrics/{name}", value, step)
        self._writer.flush()

    def end(self, succeeded: bool) -> None:
        """Write the final status and close the session."""
        import tensorflow as tf
        from tensorboard.plugins.hparams import api_pb2, summary

        status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(summary.session_end_pb(status).SerializeToString(), step=0)
        self._writer.close()


def _count_parameters(model: Any) -> int:
    return int(sum(np.prod(weight.shape) for weight in model.weights))


def _find_name(loss: Any) -> str:
    """Return the name of a loss on hard labels as the user passed it."""
    loss = getattr(loss, "loss", loss)
    return loss if isinstance(loss, str) else str(getattr(loss, "name", None) or getattr(loss, "__name__", "none"))
