"""The `Distiller`: a `keras.Model` in which a small student learns from a large teacher."""

from keras_distill.distiller.model import Distiller

__all__ = ["Distiller"]
