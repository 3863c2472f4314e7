"""Knowledge distillation for Keras: a small student learns from a large teacher, and is shipped to the edge."""

from keras_distill import callbacks as callbacks
from keras_distill import export as export
from keras_distill import losses as losses
from keras_distill import metrics as metrics
from keras_distill import schedules as schedules
from keras_distill._version import __version__ as __version__
from keras_distill.distiller import Distiller as Distiller
