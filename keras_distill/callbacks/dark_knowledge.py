"""Soft targets, confusion and logit scales of teacher and student in TensorBoard."""

import math
import os
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number, check_temperature, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.callbacks import figures
from keras_distill.callbacks.layout import AGREEMENT, layout
from keras_distill.callbacks.samples import FixedSamples
from keras_distill.callbacks.session import Session, batch_size, hyper_parameters
from keras_distill.drawing.style import matplotlib

_DRAWINGS, _EPOCHS_BETWEEN = 8, 10


class DarkKnowledge(keras.callbacks.Callback):
    """Write the outputs of a `Distiller`'s teacher and student for a fixed set of samples to TensorBoard.

    It adds to the curves of `keras.callbacks.TensorBoard`, in the same folder:

    | tab | content |
    |---|---|
    | Images | `soft_targets`: the first samples with the probabilities of both models on a logarithmic axis |
    | Images | `teacher_student_confusion`: the teacher's predictions against the student's, over all samples |
    | Histograms | `logit_scale/teacher`, `logit_scale/student`: the standard deviation of each sample's logits |
    | Scalars | `agreement`: the fraction of the samples for which both predict the same class |
    | Custom Scalars | the curves of a distillation in groups |
    | HParams | a row for each training: temperature, weights, losses, optimizer, batch size, metrics, final status |

    Steps are epochs as the distiller counts them, from 0 as in `keras.callbacks.TensorBoard`, and continue after
    `BackupAndRestore`. The teacher is run on all samples once, and again only if it changes. A training that ended with
    an exception is marked as failed when the callback is released: at the latest when it is used for the next training,
    or when the process ends. If a model has several outputs, only the first is used.

    Args:
        log_dir: Folder of TensorBoard, as for `keras.callbacks.TensorBoard`. The runs are `dark_knowledge` and, inside
            it, `session_1`, `session_2` and so on, one for each training.
        samples: Validation samples: inputs `[samples, ...]`, a tuple `(inputs, labels)`, or a batch from
            `store.join(dataset)`, which a stored teacher needs. Images (`[height, width, channels]` with one or three
            channels) are drawn; for other inputs only the bars are.
        class_names: List of class names. Defaults to `None`, the class numbers.
        temperatures: Temperatures at which to show the soft targets, a list of positive numbers and `"training"` for
            the temperature of the epoch. Defaults to `(1.0, "training")`.
        shown: Number of first samples to draw. Defaults to 5.
        every: Number of epochs between figures; the last epoch is always drawn. Defaults to `None`: the first epoch,
            the last one, and evenly between them about every tenth, 8 at most. On MNIST this takes less than 2 % of the
            training time; see `benchmarks/dark_knowledge.py`.
        floor: Lowest probability on the logarithmic axis; smaller ones are marked at its lower end. Defaults to 1e-6.
        hparams: Dict of more hyper-parameters (bool, number or str), which override those that are found. The batch
            size is found on TensorFlow, unless an epoch is a single execution of several steps. Defaults to `None`.

    Raises:
        ValueError: If an argument is invalid; when training begins, if the model is not a `Distiller`, its models do
            not fit the samples, its teacher is a store of the top k classes, or the folder is not writable.
        ImportError: If matplotlib is missing when training begins.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> watching = kd.callbacks.DarkKnowledge("logs", (np.zeros((9, 4)), np.zeros(9)), class_names=["cat", "dog"])
    >>> len(watching.samples)
    9

    and then `distiller.fit(..., callbacks=[keras.callbacks.TensorBoard("logs"), watching])`.

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    @checked(temperatures=Any, shown=Any, every=Any, floor=Any)
    def __init__(
        self,
        log_dir: str | os.PathLike,
        samples: Any,
        class_names: Sequence[str] | None = None,
        temperatures: Sequence[Any] = (1.0, "training"),
        shown: int = 5,
        every: int | None = None,
        floor: float = 1e-6,
        hparams: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.log_dir = os.path.join(os.fspath(log_dir), "dark_knowledge")
        self.samples = FixedSamples(samples, check_whole_number("shown", shown))
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.temperatures = _check_temperatures(temperatures)
        self.every = None if every is None else check_whole_number("every", every)
        self.floor = check_number("floor", floor, 0.0, 0.1, open_low=True)
        self.hparams = _check_hparams(hparams or {})
        self._writer: Any = None
        self._session: Any = None
        self._failed: weakref.finalize | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        matplotlib()
        self._end_session(succeeded=False)
        self._check(self.model)
        self._writer = _open_writer(self.log_dir)
        self._session = Session(self.log_dir, _name_training(self.log_dir))
        # Keras does not notify callbacks of an exception.
        self._failed = weakref.finalize(self, _fail, self._session, self._all_hparams())
        self._laid_out = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._session.started:
            size = batch_size(self.model, batch, self.params.get("steps"))
            self._session.start(self._all_hparams() | ({"batch_size": size} if size else {}) | self.hparams)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        model: Any = self.model
        if epoch in drawn_epochs(self.params["epochs"], self.every) or model.stop_training:
            self._write(logs or {}, step=int(model.epochs_trained.numpy()) - 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._end_session(succeeded=True)
        self._writer.close()

    def _all_hparams(self):
        return {**hyper_parameters(self.model), "epochs": self.params["epochs"], **self.hparams}

    def _check(self, model):
        if not hasattr(model, "teacher_outputs"):
            raise ValueError(expected("a Distiller", type(model).__name__, "Pass it to Distiller.fit."))
        classes = self.samples.check_fit(model)
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(expected(f"{classes} class names", f"{len(self.class_names)}"))

    def _write(self, logs, step):
        import tensorflow as tf

        teacher, student = self.samples.run_teacher(self.model), self.samples.run_student(self.model)
        agreement = float(np.mean(teacher.classes == student.classes))
        with self._writer.as_default():
            tf.summary.image("soft_targets", self._draw_soft_targets(teacher, student, logs, step)[np.newaxis], step)
            tf.summary.image(
                "teacher_student_confusion", self._draw_confusion(teacher, student, step)[np.newaxis], step
            )
            for each in (teacher, student):
                tf.summary.histogram(f"logit_scale/{each.owner}", each.scale, step)
            tf.summary.scalar(AGREEMENT, agreement, step)
            self._write_layout(logs)
        self._writer.flush()
        shown = {name: value for name, value in logs.items() if name.startswith("val_")} or logs
        self._session.write_metrics({**shown, AGREEMENT: agreement}, step)

    def _draw_soft_targets(self, teacher, student, logs, step):
        columns = {}
        for each in self.temperatures:
            # Not every distillation has a temperature.
            temperature = logs.get("temperature", 1.0) if each == "training" else each
            heading = f"T = {temperature:.3g}" + (", as in training" if each == "training" else "")
            columns[heading] = (teacher.log10_probabilities(temperature), student.log10_probabilities(temperature))
        first, right = self.samples.first, self.samples.labels
        title = f"Soft targets after {step + 1} epoch{'s' if step else ''}"
        right = None if right is None else right[:first]
        return figures.soft_targets(self.samples.x[:first], columns, right, self._names(teacher), self.floor, title)

    def _draw_confusion(self, teacher, student, step):
        counts = np.zeros(2 * (teacher.logits.shape[-1],), "int64")
        np.add.at(counts, (teacher.classes, student.classes), 1)
        return figures.confusion(
            counts, self._names(teacher), f"Predictions after {step + 1} epoch{'s' if step else ''}"
        )

    def _names(self, outputs):
        return self.class_names or [str(number) for number in range(outputs.logits.shape[-1])]

    def _write_layout(self, logs):
        import tensorflow as tf
        from tensorboard.plugins.custom_scalar import summary

        if not self._laid_out:
            shown = summary.pb(layout(logs, self.model.objective.names))
            tf.summary.experimental.write_raw_pb(shown.SerializeToString(), step=0)
            self._laid_out = True

    def _end_session(self, succeeded):
        if self._failed is None:
            return
        if not succeeded:
            self._failed()  # Has no effect the second time.
        elif self._failed.detach():
            self._session.end(succeeded=True)


def drawn_epochs(epochs: int, every: int | None = None) -> set[int]:
    """Return the epochs, counted from 0, after which to draw.

    Args:
        epochs: Number of epochs of the training.
        every: Number of epochs between figures. Defaults to `None`, seldom: see `DarkKnowledge`.

    Example:

    >>> sorted(drawn_epochs(21)), sorted(drawn_epochs(11, every=4))
    ([0, 10, 20], [3, 7, 10])
    """
    if every is not None:
        return {*range(every - 1, epochs, every), epochs - 1}
    drawings = min(_DRAWINGS, max(2, 1 + epochs // _EPOCHS_BETWEEN))
    return {int(epoch) for epoch in np.linspace(0, epochs - 1, drawings).round()}


def _fail(session, hparams):
    if not session.started:  # It failed before the end of its first batch.
        session.start(hparams)
    session.end(succeeded=False)


def _open_writer(folder):
    import tensorflow as tf

    try:
        tf.io.gfile.makedirs(folder)
        writer = tf.summary.create_file_writer(folder)
        writer.flush()
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(expected("a writable log folder", f"{folder}: {error}")) from error
    return writer


def _name_training(folder):
    """Return the folder of the logs and then its parent, because the table shows only the first letters."""
    above, name = os.path.split(os.path.dirname(os.path.abspath(folder)))
    return f"{name} in {os.path.basename(above)}"


def _check_temperatures(temperatures):
    if isinstance(temperatures, (str, bytes)) or not hasattr(temperatures, "__iter__") or not list(temperatures):
        what = 'temperatures to be a list of numbers and "training"'
        raise ValueError(expected(what, f"temperatures={temperatures!r}"))
    return [each if each == "training" else check_temperature(each) for each in temperatures]


def _check_hparams(hparams):
    for name, value in hparams.items():
        if not isinstance(value, (bool, int, float, str, np.generic)) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ValueError(expected(f"the hyper-parameter {name!r} to be a bool, a number or a str", repr(value)))
    return dict(hparams)
