"""One training as a row of TensorBoard's HParams table: hyper-parameters, metrics, and how it ended."""

import os
import time

import keras
import numpy as np
from keras import ops


def hyper_parameters(distiller):
    """Return what distinguishes a distillation from others, a dict of names to numbers and words.

    Args:
        distiller: A compiled `Distiller`.
    """
    # Of mixed precision: what scales the loss is no optimizer of the user's.
    optimizer = getattr(distiller.optimizer, "inner_optimizer", distiller.optimizer)
    rate = optimizer.get_config()["learning_rate"]
    names = distiller.objective.names
    found = {
        "teacher": distiller.teacher.name,
        "teacher_parameters": _parameters(distiller.teacher),
        "student": distiller.student.name,
        "student_parameters": _parameters(distiller.student),
        "distillation_losses": " + ".join(names),
        **{f"{name}_weight": weight for name, weight in zip(names, distiller.distillation_loss_weights, strict=True)},
        "student_loss": " + ".join(map(_name, keras.tree.flatten(distiller.loss))),
        "student_loss_weight": distiller.student_loss_weight,
        "optimizer": type(optimizer).__name__,
        "learning_rate": float(ops.convert_to_numpy(optimizer.learning_rate)),
        "learning_rate_schedule": rate["class_name"] if isinstance(rate, dict) else "constant",
    }
    return found if distiller.temperature is None else {**found, "temperature": distiller.temperature}


def batch_size(distiller, batch, steps):
    """Return the size of the batches, once some steps of the first epoch have run; `None` where it cannot be told.

    Args:
        distiller: A `Distiller` in training.
        batch: Index of the last training step that has run.
        steps: Number of training steps in an epoch, or `None`.
    """
    done = batch + 1
    # The last batch of an epoch may be a smaller one. On JAX the counts come at the end of an epoch.
    samples = int(ops.convert_to_numpy(distiller.objective.trackers["distillation_loss"].count))
    return samples // done if samples and (done == 1 or done < (steps or 0)) else None


class Session:
    """Write one training to the HParams plugin.

    A session has a run of its own. TensorBoard keeps the first end that a run tells of: one that was interrupted and
    went on would be an interrupted one for good.

    Args:
        folder: Folder for the sessions of this training, `session_1`, `session_2`, ... in it.
        name: Name of the training in the table.
    """

    def __init__(self, folder, name):
        import tensorflow as tf

        number = 1
        while tf.io.gfile.exists(run := os.path.join(folder, f"session_{number}")):
            number += 1
        self._name = name if number == 1 else f"{name} ({number})"
        self._writer = tf.summary.create_file_writer(run)
        self._begin = time.time()
        self.started = False

    def start(self, values):
        """Tell the hyper-parameters, a dict."""
        from tensorboard.plugins.hparams import api

        with self._writer.as_default():
            api.hparams(values, trial_id=self._name, start_time_secs=self._begin)
        self._writer.flush()
        self.started = True

    def metrics(self, values, step):
        """Tell the metrics of an epoch, a dict; the table shows the last ones."""
        import tensorflow as tf

        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"metrics/{name}", value, step)
        self._writer.flush()

    def end(self, succeeded):
        """Tell how the training ended, and write no more."""
        import tensorflow as tf
        from tensorboard.plugins.hparams import api_pb2, summary

        status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(summary.session_end_pb(status).SerializeToString(), step=0)
        self._writer.close()


def _parameters(model):
    return int(sum(np.prod(weight.shape) for weight in model.weights))


def _name(loss):
    """Return the name of a loss on hard labels as the user gave it."""
    loss = getattr(loss, "loss", loss)
    return loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "none")
