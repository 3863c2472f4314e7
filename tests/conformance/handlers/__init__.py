"""The handler of each method: a function from a `Case` to its `Quantities`."""

from tests.conformance.handlers import (
    embeddings,
    feature_maps,
    learned_features,
    logits,
    logits_with_labels,
    soft_targets,
)

_FAMILIES = (embeddings, feature_maps, learned_features, logits, logits_with_labels, soft_targets)
HANDLERS = {method: handler for family in _FAMILIES for method, handler in family.HANDLERS.items()}
WITHOUT_VECTORS: set[str] = set()
"""Methods without published vectors. Their own tests compare them with a closed form."""
