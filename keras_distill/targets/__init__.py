"""Soft targets on disk: the teacher is asked once, and any number of students learn from what it said."""

from keras_distill.answers.top_k import TopK as TopK
from keras_distill.targets.replay.replay import Replay as Replay
from keras_distill.targets.store.encoding import Encoding as Encoding
from keras_distill.targets.store.keys import key_of as key_of
from keras_distill.targets.store.reader import TargetStore as TargetStore
from keras_distill.targets.store.reader import open as open
from keras_distill.targets.teacher import StoredTeacher as StoredTeacher
from keras_distill.targets.writing.beam import write_with_beam as write_with_beam
from keras_distill.targets.writing.writer import write as write
