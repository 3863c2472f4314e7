"""Watching in TensorBoard what the soft targets say, beside the curves."""

import math
import os
import weakref

import keras
import numpy as np

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.callbacks import drawing
from keras_distill.callbacks.answers import FixedSamples
from keras_distill.callbacks.layout import AGREEMENT, layout
from keras_distill.callbacks.session import Session, batch_size, hyper_parameters
from keras_distill.drawing.style import matplotlib
from keras_distill.losses.logits.base import check_temperature

_DRAWINGS, _EPOCHS_BETWEEN = 8, 10


class DarkKnowledge(keras.callbacks.Callback):
    """Write to TensorBoard what teacher and student of a `Distiller` say of a fixed set of validation samples.

    Beside the curves of `keras.callbacks.TensorBoard`, in the same folder, there are then

    | tab | what |
    |---|---|
    | Images | `soft_targets`: the first samples beside the probabilities that both give each class, on a log axis |
    | Images | `teacher_student_confusion`: the teacher's answer against the student's, over all the samples |
    | Histograms | `logit_scale/teacher`, `logit_scale/student`: the standard deviation of each sample's logits |
    | Scalars | `agreement`: on which share of the samples both give the same answer |
    | Custom Scalars | the curves of a distillation in groups |
    | HParams | a row for each training: temperature, weights, losses, optimizer, batch size, metrics, how it ended |

    Steps are those of the distiller's own count of epochs, from 0 as in `keras.callbacks.TensorBoard`, and go on after
    `BackupAndRestore`. The teacher is asked about all samples once, and again only if it changes. A training that an
    exception ended counts as failed once the callback is let go of: at the latest when the next training begins with
    it, or the process ends. Of a model of several outputs, the first is watched.

    Args:
        log_dir: Folder for TensorBoard, that of `keras.callbacks.TensorBoard`. The runs are `dark_knowledge` and, in
            it, `session_1` and so on, one for each training.
        samples: Validation samples: inputs `[samples, ...]`, or a tuple `(inputs, labels)`, or a batch as
            `store.join(dataset)` gives them, which a stored teacher needs. Those that are pictures (`[height, width,
            channels]`, one or three channels) are drawn; of others, the bars alone.
        class_names: List of the classes' names. Defaults to `None`, their numbers.
        temperatures: What to show the soft targets at, a list of numbers > 0 and `"training"`, the temperature of the
            epoch. Defaults to `(1.0, "training")`.
        shown: Number of samples to draw, the first ones. Defaults to 5.
        every: Draw after every that many epochs and the last one. Defaults to `None`: after the first epoch, the last
            one and evenly between them, about every tenth and 8 times at most. On MNIST that takes less than 2 % of an
            epoch for each epoch of the training; see `benchmarks/dark_knowledge.py`.
        floor: The log axis goes from this probability to 1; smaller ones are marked at its foot. Defaults to 1e-6.
        hparams: Dict of more hyper-parameters to tell, bool, number or str; of one name, they replace those found.
            The batch size is found on TensorFlow, and not where an epoch is a single execution of several steps.
            Defaults to `None`.

    Raises:
        ValueError: If an argument is not what it should be; when training begins, if the model is no `Distiller`, its
            models do not fit the samples, its teacher is a store of the k greatest classes, or the folder cannot be
            written.
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

    def __init__(
        self,
        log_dir,
        samples,
        class_names=None,
        temperatures=(1.0, "training"),
        shown=5,
        every=None,
        floor=1e-6,
        hparams=None,
    ):
        super().__init__()
        self.log_dir = os.path.join(os.fspath(log_dir), "dark_knowledge")
        self.samples = FixedSamples(samples, _positive("shown", shown))
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        self.temperatures = _check_temperatures(temperatures)
        self.every = every if every is None else _positive("every", every)
        self.floor = check_number("floor", floor, 0.0, 0.1, open_low=True)
        self.hparams = _check_hparams(hparams or {})
        self._writer = self._session = self._failed = None

    def on_train_begin(self, logs=None):
        matplotlib()
        self._end_session(succeeded=False)
        self._check(self.model)
        self._writer = _open(self.log_dir)
        self._session = Session(self.log_dir, _name(self.log_dir))
        # Keras does not tell callbacks of an exception.
        self._failed = weakref.finalize(self, _fail, self._session, self._all_hparams())
        self._laid_out = False

    def on_train_batch_end(self, batch, logs=None):
        if not self._session.started:
            size = batch_size(self.model, batch, self.params.get("steps"))
            self._session.start(self._all_hparams() | ({"batch_size": size} if size else {}) | self.hparams)

    def on_epoch_end(self, epoch, logs=None):
        if epoch in drawn_epochs(self.params["epochs"], self.every) or self.model.stop_training:
            self._write(logs or {}, step=int(self.model.epochs_trained.numpy()) - 1)

    def on_train_end(self, logs=None):
        self._end_session(succeeded=True)
        self._writer.close()

    def _all_hparams(self):
        return {**hyper_parameters(self.model), "epochs": self.params["epochs"], **self.hparams}

    def _check(self, model):
        if not hasattr(model, "teacher_outputs"):
            fix = "It belongs in the callbacks of Distiller.fit."
            raise ValueError(expected("a Distiller", type(model).__name__, fix))
        classes = self.samples.check_fit(model)
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(expected(f"{classes} class names", f"{len(self.class_names)}"))

    def _write(self, logs, step):
        import tensorflow as tf

        teacher, student = self.samples.ask_teacher(self.model), self.samples.ask_student(self.model)
        agreement = float(np.mean(teacher.classes == student.classes))
        with self._writer.as_default():
            tf.summary.image("soft_targets", self._soft_targets(teacher, student, logs, step)[np.newaxis], step)
            tf.summary.image("teacher_student_confusion", self._confusion(teacher, student, step)[np.newaxis], step)
            for answer in (teacher, student):
                tf.summary.histogram(f"logit_scale/{answer.owner}", answer.scale, step)
            tf.summary.scalar(AGREEMENT, agreement, step)
            self._lay_out(logs)
        self._writer.flush()
        shown = {name: value for name, value in logs.items() if name.startswith("val_")} or logs
        self._session.metrics({**shown, AGREEMENT: agreement}, step)

    def _soft_targets(self, teacher, student, logs, step):
        columns = {}
        for each in self.temperatures:
            # A distillation may have no temperature.
            temperature = logs.get("temperature", 1.0) if each == "training" else each
            heading = f"T = {temperature:.3g}" + (", as in training" if each == "training" else "")
            columns[heading] = tuple(answer.log10_probabilities(temperature) for answer in (teacher, student))
        first, right = self.samples.first, self.samples.labels
        title = f"Soft targets after {step + 1} epoch{'s' if step else ''}"
        right = None if right is None else right[:first]
        return drawing.soft_targets(self.samples.x[:first], columns, right, self._names(teacher), self.floor, title)

    def _confusion(self, teacher, student, step):
        counts = np.zeros(2 * (teacher.logits.shape[-1],), "int64")
        np.add.at(counts, (teacher.classes, student.classes), 1)
        return drawing.confusion(counts, self._names(teacher), f"Answers after {step + 1} epoch{'s' if step else ''}")

    def _names(self, answer):
        return self.class_names or [str(number) for number in range(answer.logits.shape[-1])]

    def _lay_out(self, logs):
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
            self._failed()  # Does nothing the second time.
        elif self._failed.detach():
            self._session.end(succeeded=True)


def drawn_epochs(epochs, every=None):
    """Return the epochs to draw after, of a training of so many, counted from 0.

    Args:
        epochs: Number of epochs.
        every: Draw after every that many epochs and the last one. Defaults to `None`, seldom: see `DarkKnowledge`.

    Example:

    >>> sorted(drawn_epochs(21)), sorted(drawn_epochs(11, every=4))
    ([0, 10, 20], [3, 7, 10])
    """
    if every is not None:
        return {*range(every - 1, epochs, every), epochs - 1}
    drawings = min(_DRAWINGS, max(2, 1 + epochs // _EPOCHS_BETWEEN))
    return {int(epoch) for epoch in np.linspace(0, epochs - 1, drawings).round()}


def _fail(session, hparams):
    if not session.started:  # It failed before its first batch was done.
        session.start(hparams)
    session.end(succeeded=False)


def _open(folder):
    import tensorflow as tf

    try:
        tf.io.gfile.makedirs(folder)
        writer = tf.summary.create_file_writer(folder)
        writer.flush()
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(expected("a log folder that can be written", f"{folder}: {error}")) from error
    return writer


def _name(folder):
    """Return the folder of the logs and the one it is in: the table shows but the first letters."""
    above, name = os.path.split(os.path.dirname(os.path.abspath(folder)))
    return f"{name} in {os.path.basename(above)}"


def _positive(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(expected(f"{name} to be a whole number >= 1", f"{name}={value!r}"))
    return int(value)


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
