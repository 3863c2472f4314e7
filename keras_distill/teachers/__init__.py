"""Anything that turns a batch into soft targets: ensembles, specialists, files, services, maps of classes."""

from keras_distill.answers.legacy import at_temperature as at_temperature
from keras_distill.answers.legacy import with_temperatures as with_temperatures
from keras_distill.teachers.base import Teacher as Teacher
from keras_distill.teachers.class_map import MappedClasses as MappedClasses
from keras_distill.teachers.class_map import map_classes as map_classes
from keras_distill.teachers.class_map import merge_classes as merge_classes
from keras_distill.teachers.clusters import find_clusters as find_clusters
from keras_distill.teachers.clusters import specialist_labels as specialist_labels
from keras_distill.teachers.ensemble import Ensemble as Ensemble
from keras_distill.teachers.ensemble import confidences as confidences
from keras_distill.teachers.ensemble import geometric_mean as geometric_mean
from keras_distill.teachers.ensemble import mean_of_logits as mean_of_logits
from keras_distill.teachers.ensemble import mean_of_probabilities as mean_of_probabilities
from keras_distill.teachers.loading import as_teacher as as_teacher
from keras_distill.teachers.members import Member as Member
from keras_distill.teachers.onnx import ONNXTeacher as ONNXTeacher
from keras_distill.teachers.precision import in_precision as in_precision
from keras_distill.teachers.remote import CallableTeacher as CallableTeacher
from keras_distill.teachers.saved_model import SavedModelTeacher as SavedModelTeacher
from keras_distill.teachers.specialists import Specialists as Specialists
from keras_distill.teachers.specialists import active_specialists as active_specialists
from keras_distill.teachers.specialists import combine_specialists as combine_specialists
from keras_distill.teachers.tflite import TFLiteTeacher as TFLiteTeacher
from keras_distill.teachers.trust import Trust as Trust
from keras_distill.teachers.trust import corrected as corrected
from keras_distill.teachers.trust import trust_weights as trust_weights
