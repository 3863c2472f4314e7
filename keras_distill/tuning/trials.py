"""What KerasTuner runs: one distillation by the values that it chose. Imports KerasTuner; import it at use."""

import contextlib

import keras
import keras_tuner

from keras_distill.tuning.space import LEARNING_RATE, apply


class Trials(keras_tuner.HyperModel):
    """Build and train the distiller of a trial, always from the same initial weights.

    Args:
        build: Function of no arguments that returns a new, uncompiled `Distiller`.
        space: A `Space`.
        optimizer: Function learning rate -> optimizer.
        compiled: Dict of further arguments of `Distiller.compile`, as a function of no arguments, since metrics have
            state.
        seed: Seed of every student.
    """

    def __init__(self, build, space, optimizer, compiled, seed):
        super().__init__()
        self._new_distiller, self._space, self._optimizer = build, space, optimizer
        self._compiled, self._seed = compiled, seed

    def build(self, hp):
        values = self._space.sample(hp)
        keras.utils.set_random_seed(self._seed)
        distiller = self._new_distiller()
        apply(values, distiller)
        rate = [values[LEARNING_RATE]] if LEARNING_RATE in values else []
        distiller.compile(self._optimizer(*rate), **self._compiled())
        if distiller.built:  # So that a trial that goes on from a checkpoint goes on with its optimizer's state.
            distiller.optimizer.build(distiller.trainable_variables)
        return distiller

    def fit(self, hp, model, *args, **kwargs):
        with _told_apart():
            return model.fit(*args, **kwargs)


@contextlib.contextmanager
def _told_apart():
    """End the search at a mistake that every trial would make, and only the trial at one of its values."""
    try:
        yield
    except FloatingPointError as error:
        raise keras_tuner.errors.FailedTrialError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise keras_tuner.errors.FatalValueError(str(error)) from error
