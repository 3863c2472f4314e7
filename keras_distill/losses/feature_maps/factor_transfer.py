"""Factor transfer: translated features of the student compared with paraphrased features of the teacher."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import Parallel, is_list_of_shapes
from keras_distill.features.paraphraser import Paraphraser, Translator
from keras_distill.losses.divergences import absolute, cast_pair
from keras_distill.losses.feature_maps.maps import unit
from keras_distill.losses.feature_maps.stages import check_same_shape, pool_to_one_size
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method

FORMS = ("factor", "map")
_FIX = "Train in `keras_distill.Distiller`: it creates a translator to the teacher's channels."


@checked(
    teacher_factor="[batch, *, *, *]",
    student_factor="[batch, *, *, *]",
    power=(1.0, math.inf),
)
def ft(teacher_factor: Tensor, student_factor: Tensor, power: float = 1.0) -> Tensor:
    """Compute the mean of `|u_s - u_t|^power`, where `u` is a factor scaled to unit length as a whole.

    A factor is a feature map in the terms of a paraphraser, an autoencoder of the teacher's features. Only the
    direction of a factor counts.

    Args:
        teacher_factor: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_factor: Float array `[batch, height, width, channels]` with the same channels. The larger of the two is
            average-pooled.
        power: Number >= 1. Defaults to 1.0.

    Returns:
        Float array `[batch]`. For a factor of zeros, `u` is zero and passes no gradient.

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
    teacher, student = pool_to_one_size(*cast_pair(teacher_factor, student_factor))
    check_same_shape(teacher, student, _FIX)
    return _mean_difference(teacher, student, power, axis=(1, 2, 3))


@checked(
    teacher_features="[batch, *, *, *]",
    student_features="[batch, *, *, *]",
    power=(1.0, math.inf),
    map_power=(1.0, math.inf),
)
def ft_maps(teacher_features: Tensor, student_features: Tensor, power: float = 1.0, map_power: int = 2) -> Tensor:
    """Compute the mean of `|u_s - u_t|^power`, where `u` is the channel mean of `x^map_power`, scaled to unit length.

    This is how a widely used collection of methods implements factor transfer: without paraphraser and translator, and
    for any numbers of channels.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_features: Float array `[batch, height, width, channels]` with any channels. The larger of the two is
            average-pooled.
        power: Number >= 1. Defaults to 1.0.
        map_power: Whole number >= 1. Defaults to 2.

    Returns:
        Float array `[batch]`. A map of zeros stays zero and passes no gradient.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((2, 1, 1, 2, 3), "float32")
    >>> teacher[:, :, 0], student[:, :, 1] = 3.0, -5.0
    >>> float(ft_maps(teacher, student)[0])
    1.0
    """
    pair = pool_to_one_size(*cast_pair(teacher_features, student_features))
    teacher, student = (ops.mean(math.prod([each] * map_power), axis=-1) for each in pair)
    return _mean_difference(teacher, student, power, axis=(1, 2))


def _mean_difference(teacher, student, power, axis):
    distance = absolute(unit(student, axis) - unit(teacher, axis))
    return ops.mean(distance if power == 1 else ops.power(distance, power), axis=axis)


@method("ft", paper="Kim, Park, Kwak 2018", arxiv="1802.04977", peers=("RepDistiller",))
class FT(FeatureLoss):
    """Teach the student the factors of the teacher's features: see `ft`.

    Train the paraphraser of the teacher's features beforehand with `keras_distill.features.train_paraphraser`. A
    translator, which expresses the student's features in the same terms, is trained with the student. The losses of
    several layers are added.

    The authors multiply this loss by 500: pass this weight to the `Distiller`.

    Args:
        form: `"factor"`, the paper's; or `"map"`, which compares channel means of powers of the features without any
            trained layer, see `ft_maps`. Defaults to `"factor"`.
        power: Exponent of the absolute differences, >= 1. Defaults to 1.0.
        map_power: Exponent of the features in the form `"map"`, a whole number >= 1. Defaults to 2.
        paraphraser: A trained `keras_distill.features.Paraphraser`, or a list with one or `None` for each layer. It is
            frozen, and its weights are saved with the `Distiller`, not with the loss. Defaults to `None`: the
            teacher's features are compared as they are, with a translator only if the channels differ.
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"ft"`.

    Raises:
        ValueError: If the form is unknown, a power is out of range, or the paraphraser is not a `Paraphraser` or not
            used by the form.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> maps = np.ones((2, 4, 4, 6), "float32")
    >>> loss = FT(teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(maps, 7.0 * maps))
    0.0
    """

    hyper_parameters = ("form", "power", "map_power")
    staged = True

    def __init__(
        self,
        form: str = "factor",
        power: float = 1.0,
        map_power: int = 2,
        paraphraser: Any = None,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        if check_number("map_power", map_power, 1.0, math.inf) % 1:
            raise ValueError(expected("map_power to be a whole number", f"map_power={map_power!r}"))
        self.form = check_choice("form", form, FORMS)
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

    def _list_paraphrasers(self, count):
        given = self.paraphraser if isinstance(self.paraphraser, list) else [self.paraphraser]
        given = [None] * count if given == [None] else given
        if len(given) != count:
            fix = "Name the layers, and pass a list of paraphrasers."
            raise ValueError(expected(f"{count} paraphrasers, one for each layer", f"{len(given)}", fix))
        return given

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a `Translator` from the student's maps to the teacher's factors, or return `None` if not needed."""
        if self.form == "map":
            return None
        several = is_list_of_shapes(student_shape)
        shapes = zip(teacher_shape, student_shape, strict=True) if several else [(teacher_shape, student_shape)]
        shapes = list(shapes)
        translators = [
            self._make_translator(*pair, paraphraser, f"{self.name}_adapter_{index}")
            for index, (pair, paraphraser) in enumerate(zip(shapes, self._list_paraphrasers(len(shapes)), strict=True))
        ]
        if not several:
            return translators[0]
        needed = any(translator is not None for translator in translators)
        return Parallel(translators, name=f"{self.name}_adapter") if needed else None

    def _make_translator(self, teacher_shape, student_shape, paraphraser, name):
        if paraphraser is None:
            return None if teacher_shape[-1] == student_shape[-1] else Translator(teacher_shape[-1], name=name)
        if not paraphraser.built:
            paraphraser.build(teacher_shape)
        return Translator(paraphraser.factor_shape(teacher_shape)[-1], paraphraser, name=name)

    def prepare(self, teacher_output: Tensor, student_output: Tensor) -> tuple[Any, Any]:
        """Return the teacher's factors, or its features if there is no paraphraser, and the student's outputs."""
        teacher, student = super().prepare(teacher_output, student_output)
        pairs = zip(teacher, self._list_paraphrasers(len(teacher)), strict=True)
        return [maps if paraphraser is None else paraphraser.encode(maps) for maps, paraphraser in pairs], student

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        pairs = zip(teacher_output, student_output, strict=True)
        if self.form == "map":
            return sum(ft_maps(*pair, self.power, self.map_power) for pair in pairs)
        return sum(ft(*pair, self.power) for pair in pairs)

    def _settings(self):
        return {**super()._settings(), "paraphraser": keras.saving.serialize_keras_object(self.paraphraser)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FT":
        return cls(**{**config, "paraphraser": keras.saving.deserialize_keras_object(config["paraphraser"])})
