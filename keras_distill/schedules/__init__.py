"""Schedules: functions of a position (an epoch or a training step, counted from 0) that return a value.

Any callable of one number is a schedule, those of `keras.optimizers.schedules` among them. These make the usual ones;
each that has an end holds its last value after it. A callable of two arguments, the second called `logs`, is one too:
it is driven by what was measured.
"""

from keras_distill.schedules.composition import add as add
from keras_distill.schedules.composition import multiply as multiply
from keras_distill.schedules.composition import piecewise as piecewise
from keras_distill.schedules.composition import restarts as restarts
from keras_distill.schedules.composition import warmup as warmup
from keras_distill.schedules.driven import driven as driven
from keras_distill.schedules.driven import takes_logs as takes_logs
from keras_distill.schedules.ways import constant as constant
from keras_distill.schedules.ways import cosine as cosine
from keras_distill.schedules.ways import exponential as exponential
from keras_distill.schedules.ways import linear as linear
