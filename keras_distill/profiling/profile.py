"""Timing the parts of a training step."""

import contextlib
import dataclasses
import pathlib
import statistics
import time

import keras
from rich.jupyter import JupyterMixin

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.messages import expected
from keras_distill.profiling.prefixes import prefixes

_LEAST_ROUNDS, _TRACED = 3, 3


@dataclasses.dataclass(frozen=True)
class Profile(JupyterMixin):
    """Hold where the time of a training step goes.

    Attributes:
        parts: Dict of part to milliseconds of one step, in their order.
        whole: Milliseconds of one step as `fit` runs it, with the distiller's `steps_per_execution`.
        steps_per_execution: Steps of one call of the compiled function.
        rounds: How often each was timed, that many steps at once.
        trace: Folder of the trace for TensorBoard, or `None`.
    """

    parts: dict
    whole: float
    steps_per_execution: int
    rounds: int
    trace: pathlib.Path | None = None

    @property
    def residual(self):
        """Milliseconds of a step that no part accounts for, such as reading the logs; below zero by chance."""
        return self.whole - sum(self.parts.values())

    def to_dict(self):
        """Return it as plain values, for JSON."""
        trace = None if self.trace is None else str(self.trace)
        return {**dataclasses.asdict(self), "residual": self.residual, "trace": trace}

    def __rich__(self):
        from rich.table import Table

        table = Table(title="One training step", caption_justify="left", box=None, min_width=48)
        table.add_column("part")
        for column in ("ms", "share"):
            table.add_column(column, justify="right")
        for name, each in {**self.parts, "residual": self.residual, "whole step": self.whole}.items():
            table.add_row(name, f"{each:.2f}", f"{100 * each / self.whole:.1f} %")
        calls = f"{self.steps_per_execution} steps a call" if self.steps_per_execution > 1 else "1 step a call"
        table.caption = f"medians of {self.rounds} rounds, {calls}"
        return table


def profile(distiller, dataset, steps=30, trace=None):
    """Tell where the time of a training step goes: input, teacher, student, losses, optimizer.

    The compiled step is run cut off after each of its parts, in turn and again and again; the median of what one cut
    takes more than the one before is the time of that part, so that the parts add up. Where parts run at the same
    time, on several cores, they count by what they add. All steps are real ones; weights, optimizer and metrics are
    afterwards what they were.

    Args:
        distiller: A compiled and built `Distiller`, on TensorFlow.
        dataset: A `tf.data.Dataset` or a `keras.utils.PyDataset` of batches, as for `fit`. Input is timed as it comes:
            shuffling, augmentation and a cache that fills count.
        steps: How many steps of each part are timed at least, in three rounds or more. Defaults to 30.
        trace: Folder for a trace of a few more executions, for TensorBoard's profiler. Defaults to `None`, none.

    Returns:
        A `Profile`; rich and notebooks show it as a table.

    Raises:
        ValueError: If the backend is not TensorFlow, the distiller is not compiled, `steps` is no positive whole
            number, or the data is of another kind or empty.

    Example:

    >>> import tensorflow as tf
    >>> import keras_distill as kd
    >>> def model(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])
    >>> distiller = kd.Distiller(model(32), model(4), kd.losses.LogitsDistillation(temperature=4.0))
    >>> distiller.compile("adam", "sparse_categorical_crossentropy")
    >>> dataset = tf.data.Dataset.from_tensor_slices((tf.ones((8, 4)), tf.range(8) % 3)).batch(4)
    >>> found = profile(distiller, dataset, steps=2)
    >>> list(found.parts)[:3], abs(sum(found.parts.values()) + found.residual - found.whole) < 1e-6
    (['input', 'teacher', 'student, forward'], True)
    """
    check_tensorflow("a profile")
    if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 1:
        raise ValueError(expected("`steps` to be a positive whole number", f"steps={steps!r}"))
    if not getattr(distiller, "compiled", False) or not hasattr(distiller, "student_outputs"):
        raise ValueError(expected("a compiled Distiller", type(distiller).__name__, "Call its `compile` first."))
    import tensorflow as tf

    batches, calls = iter(_endless(dataset)), distiller.steps_per_execution
    rounds = max(-(-steps // calls), _LEAST_ROUNDS)
    distiller._build_optimizer()
    with _kept(distiller):
        distiller.make_train_function()
        whole = _whole(distiller, batches)
        times = _interleaved({**prefixes(distiller, batches), "whole": whole}, rounds, calls)
        if trace is not None:
            with tf.profiler.experimental.Profile(str(trace)):
                for _ in range(_TRACED):
                    whole()
    whole = 1e3 * statistics.median(times.pop("whole"))
    trace = None if trace is None else pathlib.Path(trace)
    return Profile(_differences(times), whole, calls, rounds, trace)


def _whole(distiller, batches):
    def run():
        return {name: float(value) for name, value in distiller.train_function(batches).items()}

    return run


def _interleaved(functions, rounds, calls):
    """Return the seconds of a step of each function, a list by round; the first, which compiles, is not counted."""
    for function in functions.values():
        function()
    found = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            begun = time.perf_counter()
            function()
            found[name].append((time.perf_counter() - begun) / calls)
    return found


def _differences(times):
    """Return the milliseconds that each takes more than the one before it; no part takes less than none."""
    reached, parts = 0.0, {}
    for name, seconds in times.items():
        end = max(1e3 * statistics.median(seconds), reached)
        parts[name], reached = end - reached, end
    return parts


@contextlib.contextmanager
def _kept(distiller):
    """Give a distiller back its weights and its optimizer when the context ends, and metrics of nothing."""
    variables = [*distiller.variables, *distiller.optimizer.variables]
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        distiller.reset_metrics()


def _endless(dataset):
    """Return a `tf.data.Dataset` of the batches of some data, again and again."""
    import tensorflow as tf

    if isinstance(dataset, keras.utils.PyDataset):
        dataset = _of_py_dataset(dataset)
    if not hasattr(dataset, "element_spec"):
        fix = "Arrays become one by `tf.data.Dataset.from_tensor_slices((x, y)).batch(128)`."
        raise ValueError(expected("a tf.data.Dataset or a PyDataset", type(dataset).__name__, fix))
    if dataset.cardinality() == 0:
        raise ValueError(expected("data with at least one batch", "none"))
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)


def _of_py_dataset(dataset):
    import tensorflow as tf

    if not dataset.num_batches:
        raise ValueError(expected("a PyDataset with at least one batch", f"num_batches={dataset.num_batches}"))

    def walk():
        for index in range(dataset.num_batches):
            yield dataset[index]

    def spec(array):
        array = keras.ops.convert_to_numpy(array)
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    return tf.data.Dataset.from_generator(walk, output_signature=tf.nest.map_structure(spec, dataset[0]))
