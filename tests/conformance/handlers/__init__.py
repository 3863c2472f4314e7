"""What each method makes of a case: one function a method, from a `Case` to its `Quantities`."""

from tests.conformance.handlers import soft_targets

HANDLERS = {**soft_targets.HANDLERS}
