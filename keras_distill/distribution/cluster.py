"""Which machines train together, as the environment variable `TF_CONFIG` says it."""

import dataclasses
import json
import os
import re

from keras_distill._core.messages import expected

VARIABLE = "TF_CONFIG"
_ROLES = ("chief", "worker")
_ADDRESS = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:.%\w]+\]:\d{1,5}")
_FIX = (
    f"Set {VARIABLE} on every machine, as TensorFlow describes it: "
    '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}.'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Hold the addresses of all workers of a training, and which of them this process is.

    Attributes:
        addresses: Tuple of `"host:port"`, the chief's first.
        index: Place of this process among them.

    Example:

    >>> cluster = Cluster.of('{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker", "index": 1}}')
    >>> cluster.addresses, cluster.own, cluster.is_chief
    (('a:1234', 'b:1234'), 'b:1234', False)
    """

    addresses: tuple
    index: int

    @classmethod
    def of(cls, text):
        """Read the text of a `TF_CONFIG`.

        Args:
            text: JSON with `cluster` and `task`. A task called chief, if there is one, stands before the workers.

        Returns:
            A `Cluster`.

        Raises:
            ValueError: If it is no such JSON, or says something that does not fit together.
        """
        try:
            config = json.loads(text)
        except ValueError as error:
            raise _malformed(f"{VARIABLE} that is JSON", f"{text!r} ({error})") from None
        by_role = _addresses(_part(config, "cluster"))
        task = _part(config, "task")
        role, index = task.get("type"), task.get("index")
        own = by_role.get(role) if isinstance(role, str) else None
        whole = isinstance(index, int) and not isinstance(index, bool)
        if own is None or not whole or not 0 <= index < len(own):
            tasks = ", ".join(f"{role} 0 to {len(addresses) - 1}" for role, addresses in by_role.items())
            raise _malformed(f"a task in {VARIABLE} of {tasks}", json.dumps(task))
        before = len(by_role.get("chief", ())) if role == "worker" else 0
        return cls(tuple(address for each in by_role.values() for address in each), before + index)

    @classmethod
    def from_environment(cls):
        """Read the `TF_CONFIG` of this process.

        Raises:
            ValueError: If there is none, or it is malformed.
        """
        text = os.environ.get(VARIABLE)
        if not text:
            raise _malformed(f"{VARIABLE} in the environment of a training on several workers", "none")
        return cls.of(text)

    @property
    def own(self):
        """Address of this process."""
        return self.addresses[self.index]

    @property
    def is_chief(self):
        """Whether this process is the one that writes checkpoints and results."""
        return self.index == 0

    def to_json(self, index):
        """Return the text of the `TF_CONFIG` of one of the workers."""
        task = {"type": "worker", "index": index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def _part(config, name):
    part = config.get(name) if isinstance(config, dict) else None
    if not isinstance(part, dict):
        raise _malformed(f"{VARIABLE} with an object {name!r}", json.dumps(config))
    return part


def _addresses(cluster):
    """Return the addresses by role, the chief's first."""
    others = sorted(set(cluster) - set(_ROLES))
    if others:
        raise _malformed(f"a cluster in {VARIABLE} of chief and worker alone", ", ".join(others))
    by_role = {role: cluster[role] for role in _ROLES if role in cluster}
    lists = all(isinstance(each, list) and each for each in by_role.values())
    flat = [address for each in by_role.values() for address in each] if lists else []
    valid = all(isinstance(address, str) and _ADDRESS.fullmatch(address) for address in flat)
    if not flat or not valid or len(set(flat)) < len(flat) or len(by_role.get("chief", "c")) != 1:
        what = f'a cluster in {VARIABLE} of distinct addresses "host:port", and at most one chief'
        raise _malformed(what, json.dumps(cluster))
    return by_role


def _malformed(what, received):
    return ValueError(expected(what, received, _FIX))
