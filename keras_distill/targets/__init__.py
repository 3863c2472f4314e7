"""Soft targets on disk: the teacher labels a data set once, and any number of students learn from its answers."""

from keras_distill.answers.top_k import TopK
from keras_distill.targets.replay.replay import Replay
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.keys import key_of
from keras_distill.targets.store.reader import TargetStore, open
from keras_distill.targets.teacher import StoredTeacher
from keras_distill.targets.writing.beam import write_with_beam
from keras_distill.targets.writing.writer import write

__all__ = [
    "Encoding",
    "Replay",
    "StoredTeacher",
    "TargetStore",
    "TopK",
    "key_of",
    "open",
    "write",
    "write_with_beam",
]
