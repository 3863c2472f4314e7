"""Soft targets on disk: the teacher is asked once, and any number of students learn from what it said."""

from keras_distill.targets.beam import write_with_beam as write_with_beam
from keras_distill.targets.encoding import Encoding as Encoding
from keras_distill.targets.keys import key_of as key_of
from keras_distill.targets.replay import Replay as Replay
from keras_distill.targets.store import TargetStore as TargetStore
from keras_distill.targets.store import open as open
from keras_distill.targets.teacher import StoredTeacher as StoredTeacher
from keras_distill.targets.top_k import TopK as TopK
from keras_distill.targets.writer import write as write
