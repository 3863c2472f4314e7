"""The time that each part of a training step takes."""

from keras_distill.profiling.profile import Profile, profile

__all__ = ["Profile", "profile"]
