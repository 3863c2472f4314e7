"""A profile of the training step: the time of each of its parts."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
from rich.jupyter import JupyterMixin

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.profiling.prefixes import make_prefixes

_MIN_ROUNDS, _TRACED_EXECUTIONS = 3, 3


@dataclasses.dataclass(frozen=True)
class Profile(JupyterMixin):
    """The time that each part of a training step takes.

    Attributes:
        parts: Dict from each part, in order, to its milliseconds in one step.
        whole: Milliseconds of one step as `fit` runs it, with the distiller's `steps_per_execution`.
        steps_per_execution: Number of steps in one call of the compiled function.
        rounds: Number of timed executions of each prefix and of the whole step.
        trace: Folder of the trace for TensorBoard, or `None`.
    """

    parts: dict[str, float]
    whole: float
    steps_per_execution: int
    rounds: int
    trace: pathlib.Path | None = None

    @property
    def residual(self) -> float:
        """Milliseconds of a step that belong to no part, such as reading the logs; noise can make it negative."""
        return self.whole - sum(self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as a dict of plain values for JSON."""
        trace = None if self.trace is None else str(self.trace)
        return {**dataclasses.asdict(self), "residual": self.residual, "trace": trace}

    def __rich__(self) -> Any:
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


@checked(steps=Any)
def profile(distiller: Any, dataset: Any, steps: int = 30, trace: str | os.PathLike | None = None) -> Profile:
    """Return the time that each part of a training step takes: input, teacher, student, losses, optimizer.

    The compiled step is cut off after each of its parts. These prefixes are timed in turn, several times. The time of a
    part is the difference of the medians of its prefix and the one before, so the parts add up. Parts that run in
    parallel on several cores count by the time that they add. All steps are real training steps; weights and optimizer
    are restored and metrics are reset afterwards.

    Args:
        distiller: A compiled and built `Distiller` on TensorFlow.
        dataset: A `tf.data.Dataset` or a `keras.utils.PyDataset` of batches, as for `fit`. The input is timed as it is,
            including shuffling, augmentation and filling a cache.
        steps: Minimum number of timed steps for each part, in at least three rounds. Defaults to 30.
        trace: Folder for a trace of a few more executions, for TensorBoard's profiler. Defaults to `None`, no trace.

    Returns:
        A `Profile`, which rich and notebooks display as a table.

    Raises:
        ValueError: If the backend is not TensorFlow, the distiller is not compiled, `steps` is not a positive whole
            number, or the data is empty or of another type.

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
    steps = check_whole_number("steps", steps)
    if not getattr(distiller, "compiled", False) or not hasattr(distiller, "student_outputs"):
        raise ValueError(expected("a compiled Distiller", type(distiller).__name__, "Call `compile` first."))
    import tensorflow as tf

    batches, calls = iter(_repeat(dataset)), distiller.steps_per_execution
    rounds = max(-(-steps // calls), _MIN_ROUNDS)
    distiller._build_optimizer()
    with _restore_afterwards(distiller):
        distiller.make_train_function()
        whole = _make_whole_step(distiller, batches)
        times = _time_in_turn({**make_prefixes(distiller, batches), "whole": whole}, rounds, calls)
        if trace is not None:
            with tf.profiler.experimental.Profile(str(trace)):
                for _ in range(_TRACED_EXECUTIONS):
                    whole()
    milliseconds = 1e3 * statistics.median(times.pop("whole"))
    folder = None if trace is None else pathlib.Path(trace)
    return Profile(_subtract_prefixes(times), milliseconds, calls, rounds, folder)


def _make_whole_step(distiller: Any, batches: Iterator[Any]) -> Callable[[], Any]:
    def run() -> Any:
        return {name: float(value) for name, value in distiller.train_function(batches).items()}

    return run


def _time_in_turn(functions: dict[str, Callable[[], Any]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the seconds per step of each function in each round; the first call, which compiles, does not count."""
    for function in functions.values():
        function()
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            found[name].append((time.perf_counter() - begin) / calls)
    return found


def _subtract_prefixes(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the milliseconds by which each median exceeds the one before it, at least 0."""
    reached, parts = 0.0, {}
    for name, seconds in times.items():
        end = max(1e3 * statistics.median(seconds), reached)
        parts[name], reached = end - reached, end
    return parts


@contextlib.contextmanager
def _restore_afterwards(distiller: Any) -> Iterator[None]:
    """Restore the weights and the optimizer of a distiller and reset its metrics when the context ends."""
    variables = [*distiller.variables, *distiller.optimizer.variables]
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        distiller.reset_metrics()


def _repeat(dataset: Any) -> Any:
    """Return an endless `tf.data.Dataset` of the batches of a data set."""
    import tensorflow as tf

    if isinstance(dataset, keras.utils.PyDataset):
        dataset = _from_py_dataset(dataset)
    if not hasattr(dataset, "element_spec"):
        fix = "Convert arrays with `tf.data.Dataset.from_tensor_slices((x, y)).batch(128)`."
        raise ValueError(expected("a tf.data.Dataset or a PyDataset", type(dataset).__name__, fix))
    if dataset.cardinality() == 0:
        raise ValueError(expected("data with at least one batch", "an empty data set"))
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)


def _from_py_dataset(dataset: Any) -> Any:
    import tensorflow as tf

    if not dataset.num_batches:
        raise ValueError(expected("a PyDataset with at least one batch", f"num_batches={dataset.num_batches}"))

    def read_batches() -> Any:
        for index in range(dataset.num_batches):
            yield dataset[index]

    def to_spec(array: Any) -> Any:
        array = keras.ops.convert_to_numpy(array)
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    return tf.data.Dataset.from_generator(read_batches, output_signature=tf.nest.map_structure(to_spec, dataset[0]))
