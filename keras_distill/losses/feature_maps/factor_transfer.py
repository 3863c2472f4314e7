"""Factor transfer: the student's features as it would retell them, compared with the teacher's as retold."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected, unknown_name
from keras_distill.features.adapters import Parallel
from keras_distill.features.paraphraser import Paraphraser, Translator
from keras_distill.losses.feature_maps.maps import cast_pair, unit
from keras_distill.losses.feature_maps.stages import check_one_shape, one_size
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

FORMS = ("factor", "map")
_FIX = "Train in `keras_distill.Distiller`: it makes a translator to the teacher's channels."


def ft(teacher_factor, student_factor, power=1.0):
    """Compute the mean of `|u_s - u_t|^power`, where `u` is a whole factor scaled to unit length.

    Args:
        teacher_factor: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_factor: Float array likewise, of the same channels. The larger of the two is average-pooled.
        power: Number >= 1. Defaults to 1.0.

    Returns:
        Float array `[batch]`. Where a factor is all zeros, so is its `u`, and no gradient passes through it.

    Raises:
        ValueError: If the channels differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((2, 1, 1, 1, 2), "float32")
    >>> teacher[..., 0], student[..., 1] = 3.0, 5.0
    >>> float(ft(teacher, student)[0])
    1.0

    Reference:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018,
        arXiv:1802.04977.
    """
    teacher, student = one_size(*cast_pair(teacher_factor, student_factor))
    check_one_shape(teacher, student, _FIX)
    return _mean_difference(teacher, student, power, axis=(1, 2, 3))


def ft_maps(teacher_features, student_features, power=1.0, map_power=2):
    """Compute the mean of `|u_s - u_t|^power`, where `u` is the channel mean of `x^map_power`, of unit length.

    The form in which a well-known collection of methods has factor transfer: no paraphraser, no translator, and no
    channels left to match.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_features: Float array likewise, of any channels. The larger of the two is average-pooled.
        power: Number >= 1. Defaults to 1.0.
        map_power: Whole number >= 1. Defaults to 2.

    Returns:
        Float array `[batch]`. A map of zeros stays zero, and passes no gradient.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((2, 1, 1, 2, 3), "float32")
    >>> teacher[:, :, 0], student[:, :, 1] = 3.0, -5.0
    >>> float(ft_maps(teacher, student)[0])
    1.0
    """
    pair = one_size(*cast_pair(teacher_features, student_features))
    teacher, student = (ops.mean(math.prod([each] * map_power), axis=-1) for each in pair)
    return _mean_difference(teacher, student, power, axis=(1, 2))


def _mean_difference(teacher, student, power, axis):
    distance = ops.abs(unit(student, axis) - unit(teacher, axis))
    return ops.mean(distance if power == 1 else ops.power(distance, power), axis=axis)


@method("ft", paper="Kim, Park, Kwak 2018", arxiv="1802.04977", peers=("RepDistiller",))
@keras.saving.register_keras_serializable(package="keras_distill")
class FT(FeatureLoss):
    """Teach the student the factors of the teacher's features.

    A paraphraser, an autoencoder of the teacher's features, is trained beforehand by
    `keras_distill.features.train_paraphraser`; a translator is trained along with the student, and says in the same
    terms what the student sees. Their outputs are scaled to unit length, so that only the direction counts. Several
    layers add up.

    The authors multiply this loss by 500: give the weight to the `Distiller`.

    Args:
        form: `"factor"`, the paper's; or `"map"`, which compares channel means of powers of the features themselves,
            with nothing trained along. Defaults to `"factor"`.
        power: Power of the absolute differences, >= 1. Defaults to 1.0.
        map_power: Power of the features in the form `"map"`, a whole number >= 1. Defaults to 2.
        paraphraser: A trained `keras_distill.features.Paraphraser`, or a list with one or `None` for each layer. It is
            frozen, and its weights are saved with the `Distiller`, not with the loss. Defaults to `None`: the
            teacher's features are compared as they are, through a translator only where the channels differ.
        teacher_layer_name: Layer of the teacher, or a list of them. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to compare what comes before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"ft"`.

    Raises:
        ValueError: If the form is unknown, a power out of range, or a paraphraser given that is none or not used.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> maps = np.ones((2, 4, 4, 6), "float32")
    >>> loss = FT(teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(maps, 7.0 * maps))
    0.0

    Reference:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018,
        arXiv:1802.04977.
    """

    method = "ft"
    staged = True

    def __init__(
        self,
        form="factor",
        power=1.0,
        map_power=2,
        paraphraser=None,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        if form not in FORMS:
            raise ValueError(unknown_name("form", form, FORMS))
        if check_number("map_power", map_power, 1.0, math.inf) % 1:
            raise ValueError(expected("map_power to be a whole number", f"map_power={map_power!r}"))
        self.form = form
        self.power = check_number("power", power, 1.0, math.inf)
        self.map_power = int(map_power)
        self.paraphraser = self._check_paraphraser(paraphraser)

    def _check_paraphraser(self, paraphraser):
        given = paraphraser if isinstance(paraphraser, (list, tuple)) else [paraphraser]
        if not all(each is None or isinstance(each, Paraphraser) for each in given):
            fix = "Train one with `keras_distill.features.train_paraphraser`."
            raise ValueError(expected("paraphraser to be a Paraphraser or a list of them", f"{paraphraser!r}", fix))
        if self.form == "map" and any(each is not None for each in given):
            raise ValueError(expected("no paraphraser for form='map', which has no factors", f"{paraphraser!r}"))
        return list(paraphraser) if isinstance(paraphraser, (list, tuple)) else paraphraser

    def _paraphrasers(self, count):
        given = self.paraphraser if isinstance(self.paraphraser, list) else [self.paraphraser]
        given = [None] * count if given == [None] else given
        if len(given) != count:
            fix = "Name the layers, and give a list of paraphrasers."
            raise ValueError(expected(f"{count} paraphrasers, one for each layer", f"{len(given)}", fix))
        return given

    def make_adapter(self, teacher_shape, student_shape):
        """Return a `Translator` from the student's maps to the teacher's factors, or `None` where none is needed."""
        if self.form == "map":
            return None
        several = isinstance(student_shape[0], (list, tuple))
        shapes = zip(teacher_shape, student_shape, strict=True) if several else [(teacher_shape, student_shape)]
        shapes = list(shapes)
        translators = [
            self._translator(*pair, paraphraser, f"{self.name}_adapter_{index}")
            for index, (pair, paraphraser) in enumerate(zip(shapes, self._paraphrasers(len(shapes)), strict=True))
        ]
        if not several:
            return translators[0]
        needed = any(translator is not None for translator in translators)
        return Parallel(translators, name=f"{self.name}_adapter") if needed else None

    def _translator(self, teacher_shape, student_shape, paraphraser, name):
        if paraphraser is None:
            return None if teacher_shape[-1] == student_shape[-1] else Translator(teacher_shape[-1], name=name)
        if not paraphraser.built:
            paraphraser.build(teacher_shape)
        return Translator(paraphraser.factor_shape(teacher_shape)[-1], paraphraser, name=name)

    def prepare(self, teacher_output, student_output):
        """Return the teacher's factors and the student's, or the features where there is no paraphraser."""
        teacher, student = super().prepare(teacher_output, student_output)
        pairs = zip(teacher, self._paraphrasers(len(teacher)), strict=True)
        return [maps if paraphraser is None else paraphraser.encode(maps) for maps, paraphraser in pairs], student

    def per_sample(self, teacher_output, student_output):
        pairs = zip(teacher_output, student_output, strict=True)
        if self.form == "map":
            return sum(ft_maps(*pair, self.power, self.map_power) for pair in pairs)
        return sum(ft(*pair, self.power) for pair in pairs)

    def get_config(self):
        own = {"form": self.form, "power": self.power, "map_power": self.map_power}
        paraphraser = keras.saving.serialize_keras_object(self.paraphraser)
        return {**super().get_config(), **own, "paraphraser": paraphraser}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "paraphraser": keras.saving.deserialize_keras_object(config["paraphraser"])})
