"""Watching layers during a forward pass: their inputs and outputs, in the order in which they return."""

import contextlib
import functools
import threading
from typing import Any, NamedTuple

REMATERIALISED = "rematerialized_call"
"""The method with which Keras wraps the call of a layer, to compute it again in the backward pass.

The function that it returns is watched instead: gradients do not reach the tensors inside.
"""


class Event(NamedTuple):
    """One call of a watched method of a layer."""

    layer: Any
    method: str
    given: Any
    returned: Any


class _Watchers(threading.local):
    """The watchers of this thread: each replica of a `tf.distribute` strategy runs in one of its own."""

    def __init__(self):
        self.active = []


_WATCHERS = _Watchers()
_LOCK = threading.Lock()


@contextlib.contextmanager
def watching(methods: Any) -> Any:
    """Watch methods of layers in this thread while the context lasts.

    Python looks a method up on the instance first: while a method is watched, a spy is stored there. All threads share
    the spy, and each thread records its own calls. Afterwards nothing is left on the layer.

    Args:
        methods: List of `(layer, name)` of methods, or of functions that are attributes of layers.

    Yields:
        The list of events, which grows with each return.

    Example:

    >>> import keras
    >>> layer = keras.layers.Dense(3)
    >>> with watching([(layer, "call")]) as events:
    ...     output = layer(keras.ops.ones((2, 4)))
    >>> events[0].returned is output, "call" in vars(layer)
    (True, False)
    """
    methods = {(id(layer), name): (layer, name) for layer, name in methods}
    events: list[Event] = []
    with contextlib.ExitStack() as stack:
        for layer, name in methods.values():
            stack.enter_context(_spied(layer, name))
        _WATCHERS.active.append((methods.keys(), events))
        stack.callback(_WATCHERS.active.pop)
        yield events


@contextlib.contextmanager
def _spied(layer, name):
    # Written to the dictionary, since Keras and TensorFlow track what is set as an attribute.
    attributes = vars(layer)
    with _LOCK:
        if not hasattr(attributes.get(name), "watched_by"):
            attributes[name] = _spy(layer, name)
        spy = attributes[name]
        spy.watched_by += 1
    try:
        yield
    finally:
        with _LOCK:
            spy.watched_by -= 1
            if not spy.watched_by:
                spy.restore()


def _spy(layer, name):
    attributes, original = vars(layer), getattr(layer, name)
    key = (id(layer), name)

    def recorded(function: Any) -> Any:
        @functools.wraps(function, updated=())
        def record(*args: Any, **kwargs: Any) -> Any:
            returned = function(*args, **kwargs)
            for watched, events in _WATCHERS.active:
                if key in watched:
                    given = next(iter((*args, *kwargs.values())), None)
                    events.append(Event(layer, name, given, returned))
            return returned

        return record

    if name == REMATERIALISED:

        def spy(*args: Any, **kwargs: Any) -> Any:
            return recorded(original(*args, **kwargs))

    else:
        spy = recorded(original)
    spy.watched_by = 0
    if name in attributes:
        spy.restore = functools.partial(attributes.__setitem__, name, attributes[name])
    else:
        spy.restore = functools.partial(attributes.pop, name)
    return spy
