"""What all teachers of this package have in common: they answer a batch, and their errors read as they were raised."""

from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill.answers.answer import as_answers


class Teacher(keras.Model):
    """Answer batches with soft targets.

    To write your own teacher that is more than one Keras model, subclass this class and override `soft_targets`.
    Called as a Keras model, a teacher returns its logits at T = 1.

    Example:

    >>> import numpy as np
    >>> from keras_distill.answers import TemperedLogits
    >>> class Sharper(Teacher):
    ...     def soft_targets(self, inputs):  # Logits of the cubes of the probabilities, at every temperature.
    ...         return 3.0 * keras.ops.convert_to_tensor(inputs)
    >>> teacher = Sharper()
    >>> teacher.answer(np.ones((2, 3), "float32")).at(4.0).numpy().tolist()
    [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    """

    one_for_all_temperatures = False
    """Whether the logits are known to be the same at every temperature."""

    def __call__(self, *args, **kwargs):
        with guards.explained():
            return super().__call__(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Run the teacher over data. See `keras.Model.predict`."""
        with guards.explained():
            return super().predict(*args, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Return the logits of a batch at T = 1."""
        answers = guards.marked(self.answer)(inputs)
        return keras.tree.map_structure(lambda answer: answer.logits, answers)

    def answer(self, inputs: Any) -> Any:
        """Answer a batch.

        Args:
            inputs: A batch of inputs.

        Returns:
            An `Answer`, or a nest with one for each output.
        """
        with guards.explained():
            return as_answers(self.soft_targets(keras.tree.map_structure(_as_tensor, inputs)))

    def soft_targets(self, inputs: Any) -> Any:
        """Return the logits of a batch, an `Answer`, or a nest with one for each output. Override it."""
        raise NotImplementedError(f"{type(self).__name__} must implement `soft_targets(inputs)`.")


def _as_tensor(leaf):
    return keras.ops.convert_to_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf
