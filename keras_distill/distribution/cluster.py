"""The machines that train together, read from the environment variable `TF_CONFIG`.

`tf.distribute.cluster_resolver.TFConfigClusterResolver` reads it too, but does not check it: a mistake there ends in a
training that waits forever.
"""

import dataclasses
import json
import math
import os
import re
from typing import Any

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected

VARIABLE = "TF_CONFIG"
_ROLES = ("chief", "worker")
_ADDRESS = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:.%\w]+\]:\d{1,5}")
_FIX = (
    f"Set {VARIABLE} on every machine as TensorFlow documents it: "
    '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}.'
)


@checked(index=(0, math.inf))
@dataclasses.dataclass(frozen=True)
class Cluster:
    """The addresses of all workers of a training, and the index of this process.

    Attributes:
        addresses: Tuple of `"host:port"`, with the chief first.
        index: Index of this process in `addresses`.

    Example:

    >>> cluster = Cluster.of('{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker", "index": 1}}')
    >>> cluster.addresses, cluster.own, cluster.is_chief
    (('a:1234', 'b:1234'), 'b:1234', False)
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def of(cls, text: str) -> "Cluster":
        """Parse the text of a `TF_CONFIG`.

        Args:
            text: JSON with `cluster` and `task`. A chief, if there is one, comes before the workers.

        Returns:
            A `Cluster`.

        Raises:
            ValueError: If the text is not such JSON, or its parts contradict each other.
        """
        try:
            config = json.loads(text)
        except ValueError as error:
            raise _malformed(f"{VARIABLE} that is JSON", f"{text!r} ({error})") from None
        by_role = _parse_addresses(_get_object(config, "cluster"))
        task = _get_object(config, "task")
        role, index = task.get("type"), task.get("index")
        own = by_role.get(role, ()) if isinstance(role, str) else ()
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(own):
            tasks = ", ".join(f"{role} 0 to {len(addresses) - 1}" for role, addresses in by_role.items())
            raise _malformed(f"a task in {VARIABLE} of {tasks}", json.dumps(task))
        before = len(by_role.get("chief", ())) if role == "worker" else 0
        return cls(tuple(address for each in by_role.values() for address in each), before + index)

    @classmethod
    def from_environment(cls) -> "Cluster":
        """Parse the `TF_CONFIG` of this process.

        Raises:
            ValueError: If it is missing or malformed.
        """
        text = os.environ.get(VARIABLE)
        if not text:
            raise _malformed(f"{VARIABLE} in the environment of a training on several workers", "none")
        return cls.of(text)

    @property
    def own(self) -> str:
        """Address of this process."""
        return self.addresses[self.index]

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and results."""
        return self.index == 0

    def to_json(self, index: int) -> str:
        """Return the text of the `TF_CONFIG` of one of the workers."""
        task = {"type": "worker", "index": index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def _get_object(config: Any, name: str) -> dict[str, Any]:
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise _malformed(f"{VARIABLE} with an object {name!r}", json.dumps(config))
    return part


def _parse_addresses(cluster: dict[str, Any]) -> dict[str, list[str]]:
    """Return the addresses by role, with the chief first."""
    if others := sorted(set(cluster) - set(_ROLES)):
        raise _malformed(f"a cluster in {VARIABLE} with no other roles than chief and worker", ", ".join(others))
    by_role = {role: cluster[role] for role in _ROLES if role in cluster}
    are_lists = all(isinstance(each, list) and each for each in by_role.values())
    flat = [address for each in by_role.values() for address in each] if are_lists else []
    are_valid = all(isinstance(address, str) and _ADDRESS.fullmatch(address) for address in flat)
    if not flat or not are_valid or len(set(flat)) < len(flat) or len(by_role.get("chief", "c")) != 1:
        what = f'a cluster in {VARIABLE} of distinct addresses "host:port", and at most one chief'
        raise _malformed(what, json.dumps(cluster))
    return by_role


def _malformed(what: str, received: str) -> ValueError:
    return ValueError(expected(what, received, _FIX))
