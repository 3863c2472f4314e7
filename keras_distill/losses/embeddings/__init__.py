"""Losses of embeddings, which compare how samples lie to each other: one file per method."""
