"""What all teachers of the package share: they answer in logits, and their errors are the plain ones."""

import keras

from keras_distill._core import guards


class Teacher(keras.Model):
    """Turn a batch into soft targets. Subclasses compute `_soft_targets(inputs)`."""

    def __call__(self, *args, **kwargs):
        with guards.explained():
            return super().__call__(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """Run the teacher over data. See `keras.Model.predict`."""
        with guards.explained():
            return super().predict(*args, **kwargs)

    def call(self, inputs):
        """Return the logits of a batch at T = 1; `at_temperature` asks them for others."""
        return guards.marked(self._soft_targets)(inputs)

    def _soft_targets(self, inputs):
        raise NotImplementedError


def is_stored(teacher):
    """Tell whether a teacher answers by what the batches carry, rather than by running."""
    return hasattr(teacher, "answer")
