"""Augmentation replay: views of examples that follow from a seed, and can be made again."""
