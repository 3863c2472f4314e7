"""Flow of the solution procedure: how the features of one layer turn into those of the next."""

import itertools

import keras
from keras import ops

from keras_distill._core.messages import expected, unknown_name
from keras_distill.features import adapters
from keras_distill.losses.feature_maps.maps import average_pool, cast_pair, flatten_maps, max_pool, norm, smaller_size
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

FORMS = ("average", "max")


def fsp(teacher, student, form="average"):
    """Compare the flow from layer to layer of the teacher with that of the student.

    The flow between two layers of a model is the matrix of the scalar products of the maps of every two channels, one
    of each layer, over the number of positions. The larger map is pooled to the size of the smaller one first.

    Args:
        teacher: List of two or more float arrays `[batch, height, width, channels]`, in the order of the layers.
            Constant: no gradient reaches them.
        student: As many float arrays with as many channels, of any height and width.
        form: `"average"` for the mean squared difference of the matrices, of average-pooled maps; `"max"` for the
            Euclidean norms of the columns (one for each channel of the later layer) of the difference, summed, of
            max-pooled maps. Defaults to `"average"`.

    Returns:
        Float array `[batch]`, summed over consecutive layers.

    Raises:
        ValueError: If there are fewer than two layers, or numbers of layers or channels differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = [np.ones((1, 2, 2, 1)), 3.0 * np.ones((1, 1, 1, 1))], [np.ones((1, 2, 2, 1))] * 2
    >>> float(fsp(teacher, student)[0])  # (3 - 1)²
    4.0

    Reference:
        Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
        Learning", 2017.
    """
    check_stages(teacher, student)
    pairs = [cast_pair(*pair) for pair in zip(teacher, student, strict=True)]
    teacher, student = zip(*pairs, strict=True)
    pool = max_pool if form == "max" else average_pool
    flows = zip(_flows(teacher, pool), _flows(student, pool), strict=True)
    return sum(_difference(student_flow - teacher_flow, form) for teacher_flow, student_flow in flows)


def check_count(teacher, student):
    """Raise a `ValueError` unless two lists have two elements or more, and as many."""
    if len(teacher) < 2 or len(teacher) != len(student):
        received = f"{len(teacher)} of the teacher, {len(student)} of the student"
        fix = "Pass two lists of names, `teacher_layer_name=[...]` and `student_layer_name=[...]`."
        raise ValueError(expected("two layers or more, and as many of both", received, fix))


def check_stages(teacher, student):
    """Raise a `ValueError` unless there are two layers or more, as many of both, and as wide ones."""
    check_count(teacher, student)
    for one, other in zip(teacher, student, strict=True):
        if one.shape[-1] != other.shape[-1]:
            received = f"teacher features of shape {tuple(one.shape)}, student features of {tuple(other.shape)}"
            fix = "Train in `keras_distill.Distiller`: it makes the adapter."
            raise ValueError(expected("as many channels of the student as of the teacher", received, fix))


def _flows(stages, pool):
    """Return the flow `[batch, channels, channels of the next]` between every two consecutive layers."""
    return [_flow(bottom, top, pool) for bottom, top in itertools.pairwise(stages)]


def _flow(bottom, top, pool):
    height, width = size = smaller_size(bottom, top)
    bottom, top = (flatten_maps(pool(x, size)) for x in (bottom, top))
    return ops.matmul(ops.transpose(bottom, (0, 2, 1)), top) / (height * width)


def _difference(difference, form):
    if form == "max":
        return ops.sum(norm(difference, axis=1), axis=-1)
    return ops.mean(ops.square(difference), axis=(1, 2))


@method("fsp", paper="Yim, Joo, Bae, Kim 2017", peers=("RepDistiller", "torchdistill"))
@keras.saving.register_keras_serializable(package="keras_distill")
class FSP(FeatureLoss):
    """Teach the student how the teacher's features change from layer to layer: the flow of the solution procedure.

    It compares two layers or more at once. Where the widths of student and teacher differ, the `Distiller` puts a 1x1
    convolution behind the student's features and trains it along. See `fsp` for the formula.

    Args:
        form: `"average"` for mean squared differences and average pooling, `"max"` for norms and max pooling. Defaults
            to `"average"`.
        teacher_layer_name: List of two or more layers of the teacher, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: List of as many layers of the student, or `"auto"`. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation. Defaults to `False`.
        name: Name in the logs. Defaults to `"fsp"`.

    Raises:
        ValueError: If the form is not known; in a `Distiller`, if there are not two layers or more.

    Example:

    >>> import numpy as np
    >>> maps = [np.ones((2, 4, 4, 3), "float32"), np.ones((2, 2, 2, 5), "float32")]
    >>> float(FSP().compute_loss(maps, maps)), float(FSP().compute_loss(maps, [maps[0], 0.0 * maps[1]]))
    (0.0, 1.0)

    Reference:
        Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
        Learning", 2017.
    """

    method = "fsp"
    staged = True

    def __init__(
        self,
        form="average",
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if form not in FORMS:
            raise ValueError(unknown_name("form", form, FORMS))
        self.form = form

    def validate_model_compatibility(self, teacher, student):
        """Raise a `ValueError` unless both models have the layers, and there are two or more of them."""
        super().validate_model_compatibility(teacher, student)
        names = (self.teacher_layer_name, self.student_layer_name)
        check_count(*(each if isinstance(each, (list, tuple)) else [each] for each in names))

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless there are two layers or more, as many of both, all of them feature maps."""
        super().validate_outputs(teacher_outputs, student_outputs)
        check_stages(keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs))

    def make_adapter(self, teacher_shape, student_shape):
        """Return 1x1 convolutions for the layers where the numbers of channels differ."""
        name = f"{self.name}_adapter"
        return adapters.for_each_layer(adapters.match_width, teacher_shape, student_shape, name)

    def per_sample(self, teacher_output, student_output):
        return fsp(teacher_output, student_output, self.form)

    def get_config(self):
        return {**super().get_config(), "form": self.form}
