"""The contents of TFLite files: operators, weights, inputs and outputs, and the metadata attached to them."""
