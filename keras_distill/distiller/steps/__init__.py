"""How one batch trains the student, on each backend of Keras."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_distill.distiller.steps.tensorflow import Steps
elif keras.backend.backend() == "jax":
    from keras_distill.distiller.steps.jax import Steps
else:
    from keras_distill.distiller.steps.unsupported import Steps  # type: ignore[assignment]

__all__ = ["Steps"]
