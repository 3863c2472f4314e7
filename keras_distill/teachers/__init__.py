"""Anything that turns a batch into soft targets: ensembles, specialists, files, services, maps of classes."""

from keras_distill.teachers.loading import as_teacher as as_teacher
from keras_distill.teachers.onnx import ONNXTeacher as ONNXTeacher
from keras_distill.teachers.remote import CallableTeacher as CallableTeacher
from keras_distill.teachers.saved_model import SavedModelTeacher as SavedModelTeacher
from keras_distill.teachers.soft_targets import at_temperature as at_temperature
from keras_distill.teachers.soft_targets import with_temperatures as with_temperatures
from keras_distill.teachers.tflite import TFLiteTeacher as TFLiteTeacher
