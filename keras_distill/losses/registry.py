"""The registry of methods: a loss registers itself where it is defined, and is found here by its name."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill.losses.base import DistillationLoss, arguments_of
from keras_distill.losses.layers import LayerPair

LossClass = TypeVar("LossClass", bound=type[DistillationLoss])

METHODS: "dict[str, Method]" = {}
"""Every method by its name. The README, the reference, the tests and the command line read it."""

_WRAPPERS: dict[str, tuple[type[DistillationLoss], str]] = {}
_FAMILIES = ("logits", "embeddings", "feature maps", "contrastive")


@dataclasses.dataclass(frozen=True)
class Method:
    """A published distillation method.

    Args:
        name: The name by which `Distiller(distillation_losses=...)` knows the method.
        loss: The class that implements it.
        paper: Authors and year.
        arxiv: The arXiv id, or `None`.
        peers: Public projects that implement the method too.
        config: Arguments of the class that select this method. Defaults to `{}`.
    """

    name: str
    loss: type[DistillationLoss]
    paper: str
    arxiv: str | None
    peers: tuple[str, ...]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def family(self) -> str:
        """What the method compares, named after the folder of its class: `"logits"`, `"feature maps"`, ..."""
        return self.loss.__module__.split(".")[2].replace("_", " ")

    @property
    def year(self) -> int:
        """Year of the paper."""
        return int(self.paper[-4:])

    @property
    def needs(self) -> tuple[str, ...]:
        """What the loss needs or trains beyond two outputs: `"labels"`, `"features"`, `"adapter"`, `"index"`."""
        wrapped = METHODS.get(self.config.get("loss", ""))
        loss = self.loss if wrapped is None else wrapped.loss
        arguments = arguments_of(loss.per_sample, all=True)
        found = {
            "labels": "labels" in arguments,
            "features": issubclass(loss, LayerPair),
            "adapter": loss.make_adapter is not DistillationLoss.make_adapter,
            "index": "contrast_index" in arguments,
        }
        return tuple(name for name, needed in found.items() if needed)

    def make(self, **arguments: Any) -> DistillationLoss:
        """Create the loss.

        Args:
            **arguments: Arguments of the class that differ from its defaults.
        """
        return self.loss(**{**self.config, **arguments})


def method(
    name: str,
    *,
    paper: str,
    arxiv: str | None = None,
    peers: Sequence[str] = (),
    config: dict[str, Any] | None = None,
) -> Callable[[LossClass], LossClass]:
    """Register a loss class as a published method, and with Keras for loading.

    A class that implements several methods is decorated once for each of them, with the arguments that select it.

    Args:
        name: Name of the method. It is also the name of the loss in the logs, unless `config` is given.
        paper: Authors and year.
        arxiv: The arXiv id. Defaults to `None`.
        peers: Public projects that implement the method too. Defaults to `()`.
        config: Arguments of the class that select this method. Defaults to `None`, the defaults of the class.

    Returns:
        A class decorator.

    Raises:
        ValueError: If another class has registered the name.
    """

    def register(loss: Any) -> Any:
        known = METHODS.get(name)
        if known is not None and known.loss.__qualname__ != loss.__qualname__:
            raise ValueError(expected("a name that no other method has", f"{name!r}, of {known.loss.__name__}"))
        METHODS[name] = Method(name, loss, paper, arxiv, tuple(peers), config or {})
        if config is None:
            loss.method = name
        return keras.saving.register_keras_serializable(package="keras_distill")(loss)

    return register


def wrapper(prefix: str, *, family: str) -> Callable[[LossClass], LossClass]:
    """Register a class that wraps another loss: `prefix + name` then means the method `name`, wrapped.

    Args:
        prefix: Prefix of the name of the wrapped method.
        family: Family of the methods that can be wrapped.

    Returns:
        A class decorator.
    """

    def register(loss: Any) -> Any:
        _WRAPPERS[prefix] = (loss, family)
        return loss

    return register


def in_order() -> list[Method]:
    """Return every `Method`, sorted by family and then by the year of the paper."""
    return sorted(METHODS.values(), key=lambda each: (_rank(each.family), each.year, each.name))


def _rank(family):
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)


def get(name: str, **arguments: Any) -> DistillationLoss:
    """Create a distillation loss by the name of its method.

    Args:
        name: A name in `METHODS`, or `"logit_std_"` followed by the name of a method that compares logits.
        **arguments: Arguments of the class that differ from its defaults.

    Returns:
        A `DistillationLoss`.

    Raises:
        ValueError: If there is no method of that name.

    Example:

    >>> import keras_distill as kd
    >>> kd.losses.get("dkd", beta=2.0)
    DKD(temperature=4.0, alpha=1.0, beta=2.0)
    >>> kd.losses.get("logit_std_dist").name
    'logit_std_dist'
    """
    if isinstance(name, str) and name in METHODS:
        return METHODS[name].make(**arguments)
    for prefix, (loss, family) in _WRAPPERS.items():
        inner = METHODS.get(str(name).removeprefix(prefix))
        if inner is not None:
            if inner.family != family:
                raise ValueError(expected(f"a method of {family} after {prefix!r}", repr(name)))
            return loss(inner.make(**arguments))
    raise ValueError(unknown_name("a distillation loss", name, METHODS))
