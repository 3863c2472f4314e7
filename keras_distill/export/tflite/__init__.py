"""TFLite files from the inside: what they are made of, and what is attached to them."""
