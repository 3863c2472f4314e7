"""Where the time of a training step goes."""

from keras_distill.profiling.profile import Profile as Profile
from keras_distill.profiling.profile import profile as profile
