"""A generalist, and specialists on the classes that it confuses: section 5 of Hinton, Vinyals and Dean 2015."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.arrays import Axes, check_axes
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_items, check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import TemperedLogits
from keras_distill.losses.divergences import working_dtype
from keras_distill.teachers.clusters import check_clusters
from keras_distill.teachers.combined import CombinedTeacher, check_member, infer, one_class_count
from keras_distill.teachers.log_space import FLOOR, exactly, group_logits, log_probabilities

# Relative change of a logarithm below which it has converged.
_STILL = {"float32": 1e-6, "float64": 1e-12}


@keras.saving.register_keras_serializable(package="keras_distill")
class Specialists(CombinedTeacher):
    """Let specialists correct a generalist on the classes that it confuses.

    A specialist distinguishes the classes of its cluster and lumps all others together: its last logit is that of a
    dustbin class. A specialist is active for a sample if its cluster has one of the generalist's `top` most probable
    classes. The soft targets are the distribution `q` over all classes that minimises

        KL(p_generalist, q) + sum over active m of KL(p_m, q)

    where, in the second term, `q` is summed over the classes in the dustbin of m. If no specialist is active, `q` is
    the generalist's distribution. At a temperature T all distributions are those at T. The dustbin is then one class
    among
    few: as T grows it becomes as likely as each class of the cluster, however many classes it stands for.

    `find_clusters` finds the classes that the generalist confuses; train each specialist on
    `specialist_labels(y, cluster)`. Every specialist runs on every sample, since a batch has samples of all clusters.

    Args:
        generalist: A `keras.Model` of all classes that returns logits or ends in a softmax.
        specialists: Non-empty list of `keras.Model`s with one logit for each class of their cluster, in the order of
            the cluster, and one for the dustbin.
        clusters: For each specialist, the list of its classes. Clusters may overlap and need not cover all classes.
        top: Number of the generalist's most probable classes that activate a specialist. Defaults to 1.
        steps: Largest number of steps to `q`, see `combine_specialists`. Defaults to 200.
        oversampling: How many times more frequent, relative to the dustbin, the classes of a cluster were in the
            training of its specialist than in reality: one number > 0, or one for each. Its logarithm is added to the
            logit of the dustbin. Defaults to 1.0.
        name: Name of the model. Defaults to `"specialists"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is invalid, or models and clusters do not fit together.

    Example:

    >>> def model(logits):
    ...     head = keras.layers.Dense(len(logits), kernel_initializer="zeros")
    ...     made = keras.Sequential([keras.Input((4,)), head])
    ...     head.bias.assign(np.log(logits))
    ...     return made
    >>> generalist = model([0.4, 0.4, 0.1, 0.1])  # It confuses 0 and 1.
    >>> teacher = Specialists(generalist, [model([0.7, 0.1, 0.2])], clusters=[[0, 1]])
    >>> print(ops.softmax(teacher(np.ones((1, 4)))).numpy().round(3))
    [[0.55 0.25 0.1  0.1 ]]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 5.
    """

    _nested = ("generalist", "specialists")

    @checked(top=Any, steps=Any)
    def __init__(
        self,
        generalist: Any,
        specialists: Any,
        clusters: Any,
        top: int = 1,
        steps: int = 200,
        oversampling: Any = 1.0,
        name: str = "specialists",
        **kwargs: Any,
    ):
        check_member("generalist", generalist)
        if not isinstance(specialists, (list, tuple)) or not specialists:
            raise ValueError(expected("a list of at least one specialist", f"specialists={specialists!r}"))
        for specialist in specialists:
            check_member("each specialist", specialist)
        classes = one_class_count("generalist", generalist)
        clusters = check_clusters(clusters, len(specialists), classes)
        _check_widths([one_class_count("each specialist", specialist) for specialist in specialists], clusters)
        top = check_whole_number("top", top, 1)
        if classes is not None and top > classes:
            raise ValueError(expected(f"top to be {classes} at most, the number of classes", f"top={top}"))
        steps, oversampling = check_whole_number("steps", steps, 1), _check_oversampling(oversampling, len(specialists))
        super().__init__([generalist, *specialists], shown_by=[generalist], name=name, **kwargs)
        self.generalist, self.specialists = generalist, list(specialists)
        self.clusters, self.top, self.steps, self.oversampling = clusters, top, steps, oversampling

    def soft_targets(self, inputs: Any) -> Any:
        general = infer(self.generalist, inputs)
        special = [infer(specialist, inputs) for specialist in self.specialists]
        self._check_answers(general, special)
        active = active_specialists(general.logits, self.clusters, self.top)

        def combined(general: Any, special: Any, temperature: Any = 1.0) -> Any:
            special = [_biased(each, math.log(o)) for each, o in zip(special, self.oversampling, strict=True)]
            return combine_specialists(general, special, self.clusters, active, temperature, self.steps)

        def at(temperature: Any) -> Any:
            return combined(general.at(temperature), [each.at(temperature) for each in special], temperature)

        return TemperedLogits(combined(general.logits, [each.logits for each in special]), at)

    def _check_answers(self, general, special):
        counts = [len(keras.tree.flatten(each)) for each in (general, *special)]
        if max(counts) > 1:
            raise ValueError(expected("a generalist and specialists of one output", f"models of {counts} outputs"))
        check_clusters(self.clusters, len(special), general.shape[-1])
        _check_widths([each.shape[-1] for each in special], self.clusters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "generalist": keras.saving.serialize_keras_object(self.generalist),
            "specialists": [keras.saving.serialize_keras_object(each) for each in self.specialists],
            "clusters": [list(cluster) for cluster in self.clusters],
            "top": self.top,
            "steps": self.steps,
            "oversampling": list(self.oversampling),
        }


def _check_lists(name, clusters):
    for cluster in check_items(name, clusters, "a list of the classes of each specialist"):
        check_items(f"each of {name}", cluster, "a list of classes")


def _check_arrays(generalist_logits, specialist_logits):
    given = check_items("specialist_logits", specialist_logits, "a list of arrays, one for each specialist")
    arrays = {"generalist_logits": generalist_logits} | {
        f"specialist_logits[{i}]": each for i, each in enumerate(given)
    }
    check_axes(arrays, dict.fromkeys(arrays, Axes("[..., *]")))


@checked(generalist_logits="[..., classes]", clusters=_check_lists, top=(1, math.inf))
def active_specialists(generalist_logits: Any, clusters: Any, top: int = 1) -> Any:
    """Return which specialists have one of the generalist's most probable classes in their cluster.

    Args:
        generalist_logits: Float tensor `[..., classes]`.
        clusters: For each specialist, the list of its classes.
        top: Number of most probable classes. Defaults to 1.

    Returns:
        Bool tensor `[..., specialists]`.

    Example:

    >>> logits = ops.convert_to_tensor([[3.0, 2.0, 1.0, 0.0]])
    >>> active_specialists(logits, [[0, 3], [1, 2]]).numpy().tolist()
    [[True, False]]
    """
    logits = ops.convert_to_tensor(generalist_logits)
    _, best = ops.top_k(logits, top)
    called = ops.take(ops.convert_to_tensor(_membership(clusters, logits.shape[-1]).T), best, axis=0)
    return ops.any(called, axis=-2)


@checked(
    generalist_logits="[..., classes]",
    clusters=_check_lists,
    active="[..., specialists]",
    steps=(1, math.inf),
)
def combine_specialists(
    generalist_logits: Any,
    specialist_logits: Any,
    clusters: Any,
    active: Any,
    temperature: Any = 1.0,
    steps: int = 200,
) -> Any:
    """Compute the logits `v` of the distribution `q` that is nearest to a generalist and its active specialists.

    `q` minimises the sum of divergences in `Specialists`, which is convex in `q`. Each step distributes the dustbin
    mass of every active specialist over the classes in its dustbin in proportion to `q`, then sets `q` to the average
    of what generalist and specialists give to each class. No step increases the sum. The iteration starts at the
    generalist and ends when no logarithm of `q` changes, or after `steps` steps. With one active specialist it
    converges in one step; with several, it takes the more steps, the less the generalist gives to classes that the
    others put into the dustbin.

    Args:
        generalist_logits: Float tensor `[..., classes]`.
        specialist_logits: List of float tensors `[..., classes of the cluster + 1]`, the dustbin last.
        clusters: For each specialist, the list of its classes.
        active: Bool tensor `[..., specialists]`.
        temperature: Positive number or scalar tensor T of all distributions. Defaults to 1.0.
        steps: Largest number of steps. Defaults to 200.

    Returns:
        Float tensor `[..., classes]`, `T log q`, so that `softmax(v / T)` is `q`. No gradient flows through it.

    Example:

    >>> generalist, specialist = np.log([[0.4, 0.4, 0.1, 0.1]]), np.log([[0.7, 0.1, 0.2]])
    >>> active = ops.convert_to_tensor([[True]])
    >>> ops.exp(combine_specialists(generalist, [specialist], [[0, 1]], active)).numpy().round(4).tolist()
    [[0.55, 0.25, 0.1, 0.1]]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, equation 5.
    """
    _check_arrays(generalist_logits, specialist_logits)
    dtype = working_dtype(*map(ops.convert_to_tensor, (generalist_logits, *specialist_logits)))
    general, *special = (
        ops.stop_gradient(log_probabilities(ops.cast(each, dtype), temperature))
        for each in (generalist_logits, *specialist_logits)
    )
    classes = general.shape[-1]
    off = ops.where(active, ops.zeros((), dtype), FLOOR)
    own = [each[..., :-1] + off[..., m, None] for m, each in enumerate(special)]
    given = group_logits(
        ops.concatenate([general, *own], axis=-1), np.concatenate([np.arange(classes), *clusters]), classes
    )
    dustbins = ops.stack([each[..., -1] for each in special], axis=-1) + off
    # Classes in the same clusters keep the ratio of what they are given, so they can be iterated as one.
    members, kinds = np.unique(_membership(clusters, classes), axis=1, return_inverse=True)
    kinds = np.reshape(kinds, -1)
    given_kinds = group_logits(given, kinds, members.shape[1])
    voices = ops.log(1.0 + ops.sum(ops.cast(active, dtype), axis=-1, keepdims=True))
    start = group_logits(general, kinds, members.shape[1])
    q = _spread(start, given_kinds, dustbins, ~members, voices, steps)
    return exactly(temperature, dtype) * (given + ops.take(q - given_kinds, kinds, axis=-1))


def _spread(q, given, dustbins, outside, voices, steps):
    """Iterate, in logarithms, to the fixed point `voices * q = given + q * sum_m dustbin_m / q(outside m)`."""
    outside = ops.convert_to_tensor(outside)
    tolerance = _STILL[keras.backend.standardize_dtype(q.dtype)]

    def step(q: Any, moving: Any) -> Any:
        in_dustbins = ops.logsumexp(ops.where(outside, q[..., None, :], FLOOR), axis=-1)
        factors = ops.where(outside, (dustbins - in_dustbins)[..., None], FLOOR)
        new = ops.logaddexp(given, q + ops.logsumexp(factors, axis=-2)) - voices
        return new, ops.any(ops.abs(new - q) > tolerance * (1.0 + ops.abs(q)))

    return ops.while_loop(lambda q, moving: moving, step, (q, ops.convert_to_tensor(True)), maximum_iterations=steps)[0]


def _membership(clusters, classes):
    """Return a bool array `[clusters, classes]`: whether each class is in each cluster."""
    members = np.zeros((len(clusters), classes), bool)
    for member, cluster in zip(members, clusters, strict=True):
        member[list(cluster)] = True
    return members


def _biased(logits, bias):
    """Add a bias to the last logit, that of the dustbin."""
    if bias == 0.0:
        return logits
    return ops.concatenate([logits[..., :-1], logits[..., -1:] + bias], axis=-1)


def _check_widths(widths, clusters):
    for number, (width, cluster) in enumerate(zip(widths, clusters, strict=True)):
        if width not in (None, len(cluster) + 1):
            what = (
                f"specialist {number} to have {len(cluster) + 1} logits, for its {len(cluster)} classes and a dustbin"
            )
            raise ValueError(expected(what, f"{width}"))


def _check_oversampling(oversampling, count):
    numbers = oversampling if isinstance(oversampling, (list, tuple)) else [oversampling] * count
    if len(numbers) != count:
        raise ValueError(expected(f"one number for oversampling, or {count}", f"oversampling={oversampling!r}"))
    return tuple(check_number("oversampling", number, 0.0, math.inf, open_low=True) for number in numbers)
