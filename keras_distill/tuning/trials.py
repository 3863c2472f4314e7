"""The trials that KerasTuner runs. This file imports KerasTuner, an extra, so import it where it is used."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import keras_tuner

from keras_distill.distiller import Distiller
from keras_distill.tuning.space import LEARNING_RATE, Space, apply


class Trials(keras_tuner.HyperModel):
    """Build and train the distiller of a trial, always from the same initial weights.

    Args:
        build: Function of no arguments that returns a new, uncompiled `Distiller`.
        space: A `Space`.
        optimizer: Function learning rate -> optimizer.
        compile_arguments: Function of no arguments that returns further arguments of `Distiller.compile`, a new dict
            each time, since metrics have state.
        seed: Seed of every student.
    """

    def __init__(
        self,
        build: Callable[[], Distiller],
        space: Space,
        optimizer: Callable[..., keras.optimizers.Optimizer],
        compile_arguments: Callable[[], dict[str, Any]],
        seed: int,
    ) -> None:
        super().__init__()
        self._new_distiller, self._space, self._optimizer = build, space, optimizer
        self._compile_arguments, self._seed = compile_arguments, seed

    def build(self, hp: Any) -> Distiller:
        values = self._space.sample(hp)
        keras.utils.set_random_seed(self._seed)
        distiller = self._new_distiller()
        apply(values, distiller)
        rate = [values[LEARNING_RATE]] if LEARNING_RATE in values else []
        distiller.compile(self._optimizer(*rate), **self._compile_arguments())
        if distiller.built:  # A trial that resumes from a checkpoint needs variables for its optimizer's state.
            distiller.optimizer.build(distiller.trainable_variables)
        return distiller

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        with _sort_errors():
            return model.fit(*args, **kwargs)


@contextlib.contextmanager
def _sort_errors() -> Iterator[None]:
    """End the search at an error that every trial would raise, but only the trial if its values cause the error."""
    try:
        yield
    except FloatingPointError as error:
        raise keras_tuner.errors.FailedTrialError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise keras_tuner.errors.FatalValueError(str(error)) from error
