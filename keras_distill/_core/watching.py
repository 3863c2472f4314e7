"""Watching layers during a forward pass: what they were given and what they returned, in the order of their return."""

import contextlib
import functools
import threading
from typing import Any, NamedTuple

REMATERIALISED = "rematerialized_call"
"""The method by which Keras makes the call of a layer one that is computed again in the backward pass.

Watched in its place is what it returns: the tensors inside are not those that gradients go back from.
"""


class Event(NamedTuple):
    """One call of a method of a layer that was watched."""

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
def watching(methods):
    """Watch methods of layers in this thread while the context lasts.

    A layer looks its methods up on itself first: while anybody watches one, a spy lies there. It is one spy for all
    threads, and each thread records for its own. Nothing of it stays on the layer.

    Args:
        methods: List of `(layer, name)` of the methods, or of functions that the layers keep as attributes.

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
    events = []
    with contextlib.ExitStack() as stack:
        for layer, name in methods.values():
            stack.enter_context(_spied(layer, name))
        _WATCHERS.active.append((methods.keys(), events))
        stack.callback(_WATCHERS.active.pop)
        yield events


@contextlib.contextmanager
def _spied(layer, name):
    # In the dictionary itself: Keras and TensorFlow track what is set as an attribute.
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

    def recorded(function):
        @functools.wraps(function, updated=())
        def record(*args, **kwargs):
            returned = function(*args, **kwargs)
            for watched, events in _WATCHERS.active:
                if key in watched:
                    given = next(iter((*args, *kwargs.values())), None)
                    events.append(Event(layer, name, given, returned))
            return returned

        return record

    if name == REMATERIALISED:

        def spy(*args, **kwargs):
            return recorded(original(*args, **kwargs))

    else:
        spy = recorded(original)
    spy.watched_by = 0
    if name in attributes:
        spy.restore = functools.partial(attributes.__setitem__, name, attributes[name])
    else:
        spy.restore = functools.partial(attributes.pop, name)
    return spy
