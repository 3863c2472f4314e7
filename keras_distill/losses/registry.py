"""The registry of methods: each loss registers itself where it is defined, and is found here by name."""

import dataclasses

from keras_distill._core.messages import expected, unknown_name
from keras_distill.losses.base import DistillationLoss, arguments_of
from keras_distill.losses.layers import LayerPair

METHODS = {}
"""Every method by name. The README, the reference, the tests and the command line read it."""

_WRAPPERS = {}
_FAMILIES = ("logits", "embeddings", "feature maps", "contrastive")


@dataclasses.dataclass(frozen=True)
class Method:
    """A published method of distillation.

    Args:
        name: Its name, by which `Distiller(distillation_losses=...)` knows it.
        loss: The class.
        paper: Authors and year.
        arxiv: Number at arXiv, or `None`.
        peers: Public code that has the method too.
        config: Arguments of the class that make it this method. Defaults to none.
    """

    name: str
    loss: type
    paper: str
    arxiv: str | None
    peers: tuple[str, ...]
    config: dict = dataclasses.field(default_factory=dict)

    @property
    def family(self):
        """What it compares, named after the folder of its class: `"logits"`, `"embeddings"`, `"feature maps"`, ..."""
        return self.loss.__module__.split(".")[2].replace("_", " ")

    @property
    def year(self):
        """Year of the paper."""
        return int(self.paper[-4:])

    @property
    def needs(self):
        """What the loss needs or trains beyond two outputs: `"labels"`, `"features"`, `"adapter"`, `"index"`."""
        wrapped = METHODS.get(self.config.get("loss"))
        loss = self.loss if wrapped is None else wrapped.loss
        arguments = arguments_of(loss.per_sample, all=True)
        found = {
            "labels": "labels" in arguments,
            "features": issubclass(loss, LayerPair),
            "adapter": loss.make_adapter is not DistillationLoss.make_adapter,
            "index": "contrast_index" in arguments,
        }
        return tuple(name for name, needed in found.items() if needed)

    def make(self, **arguments):
        """Make the loss.

        Args:
            **arguments: Arguments of the class that differ from its defaults.
        """
        return self.loss(**{**self.config, **arguments})


def method(name, *, paper, arxiv=None, peers=(), config=None):
    """Register a class of losses as a published method. A class may be several methods, by other arguments.

    Args:
        name: Name of the method.
        paper: Authors and year.
        arxiv: Number at arXiv. Defaults to `None`.
        peers: Public code that has the method too. Defaults to none.
        config: Arguments of the class that make it this method. Defaults to `None`, its defaults.

    Returns:
        A class decorator.

    Raises:
        ValueError: If another class has registered the name.
    """

    def register(loss):
        known = METHODS.get(name)
        if known is not None and known.loss.__qualname__ != loss.__qualname__:
            raise ValueError(expected("a name that no other method has", f"{name!r}, of {known.loss.__name__}"))
        METHODS[name] = Method(name, loss, paper, arxiv, tuple(peers), config or {})
        return loss

    return register


def wrapper(prefix, *, family):
    """Register a class of losses that takes another loss: `prefix + name` is then the method `name`, wrapped.

    Args:
        prefix: What stands before the name of the wrapped method.
        family: Family of the methods that can be wrapped.

    Returns:
        A class decorator.
    """

    def register(loss):
        _WRAPPERS[prefix] = (loss, family)
        return loss

    return register


def in_order():
    """Return every `Method`: family by family, and the oldest paper first."""
    return sorted(METHODS.values(), key=lambda each: (_place(each.family), each.year, each.name))


def _place(family):
    return _FAMILIES.index(family) if family in _FAMILIES else len(_FAMILIES)


def get(name, **arguments):
    """Make a distillation loss by the name of its method.

    Args:
        name: A name in `METHODS`, or `"logit_std_"` and the name of a method of logits.
        **arguments: Arguments of its class that differ from their defaults.

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
    if name in METHODS:
        return METHODS[name].make(**arguments)
    for prefix, (loss, family) in _WRAPPERS.items():
        inner = METHODS.get(str(name).removeprefix(prefix))
        if inner is not None:
            if inner.family != family:
                raise ValueError(expected(f"a method of {family} after {prefix!r}", repr(name)))
            return loss(inner.make(**arguments))
    raise ValueError(unknown_name("a distillation loss", name, METHODS))
