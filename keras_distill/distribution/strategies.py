"""Strategies of `tf.distribute` by name."""

from typing import Any

from keras_distill._core.checked import SECONDS, checked
from keras_distill._core.checks import check_choice, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.distribution.cluster import Cluster
from keras_distill.distribution.rendezvous import wait_for_all

NAMES = ("none", "mirrored", "multiworker")
"""Names of the strategies."""


@checked(name=Any, devices=Any, join_seconds=SECONDS)
def strategy(name: str, devices: int | None = None, join_seconds: float = 120.0) -> Any:
    """Create a strategy of `tf.distribute`, before anything else of TensorFlow is used.

    Build teacher, student and distiller, and compile the distiller, in its scope.

    Args:
        name: `"none"` for a single device, `"mirrored"` for several devices of this machine, or `"multiworker"` for
            the machines in `TF_CONFIG`, each with all of its GPUs, or its CPU.
        devices: Number of devices of this machine for `"mirrored"`: GPUs or, without a GPU, logical devices of the CPU
            (only for trying out, since it does not speed up the training). Defaults to `None`, all GPUs.
        join_seconds: Maximum time to wait for the other workers, in seconds. Defaults to 120.0.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: If the name is unknown, `TF_CONFIG` is malformed, or there are fewer devices.
        TimeoutError: If a worker has not joined in time.

    Example:

    >>> import keras
    >>> import keras_distill as kd
    >>> with kd.distribution.strategy("none").scope():
    ...     student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    Reference:
        Abadi et al., "TensorFlow: A system for large-scale machine learning", 2016, arXiv:1605.08695.
    """
    import tensorflow as tf

    check_choice("strategy", name, NAMES)
    if devices is not None and name != "mirrored":
        raise ValueError(expected("`devices` only for the strategy 'mirrored'", f"devices={devices!r} for {name!r}"))
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(None if devices is None else _name_devices(devices))
    cluster = Cluster.from_environment()
    _split_cpu(1)  # Fails before waiting for the others if TensorFlow is already initialized.
    wait_for_all(cluster, join_seconds)
    return tf.distribute.MultiWorkerMirroredStrategy()


def check_strategy(name: str, strategy: Any) -> None:
    """Raise a `ValueError` unless the argument is a `tf.distribute.Strategy` or `None`."""
    if strategy is not None and not hasattr(strategy, "num_replicas_in_sync"):
        raise ValueError(expected(f"{name} to be a tf.distribute.Strategy", f"{name}={strategy!r}"))


@checked(strategy=check_strategy)
def is_chief(strategy: Any = None) -> bool:
    """Return whether this process writes checkpoints and results.

    Args:
        strategy: A `tf.distribute.Strategy`. Defaults to `None`, the strategy of the current scope.

    Returns:
        A bool; `True` for every strategy of a single machine.

    Example:

    >>> is_chief()
    True
    """
    import tensorflow as tf

    resolver = (strategy or tf.distribute.get_strategy()).cluster_resolver
    if resolver is None or resolver.task_type is None or "chief" not in resolver.cluster_spec().jobs:
        return resolver is None or not resolver.task_id
    return resolver.task_type == "chief"


def is_multiworker(strategy: Any) -> bool:
    """Return whether a strategy trains on several machines."""
    resolver = strategy.cluster_resolver
    return resolver is not None and sum(map(len, resolver.cluster_spec().as_dict().values())) > 1


def _name_devices(count: int) -> list[str]:
    """Return the names of `count` devices; without a GPU, the CPU is split."""
    import tensorflow as tf

    count = check_whole_number("devices", count)
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < count and gpus:
        raise ValueError(expected(f"at most {len(gpus)} devices, the GPUs of this machine", f"devices={count}"))
    if not gpus:
        _split_cpu(count)
    return [f"{'GPU' if gpus else 'CPU'}:{number}" for number in range(count)]


def _split_cpu(count: int) -> None:
    """Split the CPU into logical devices; raise a `RuntimeError` if TensorFlow is already initialized."""
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    try:
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    except RuntimeError as error:
        fix = "Create the strategy before models and data."
        received = "TensorFlow, already initialized by a tensor or a model"
        raise RuntimeError(expected("TensorFlow before its first use", received, fix)) from error
