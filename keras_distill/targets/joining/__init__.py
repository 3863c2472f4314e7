"""Pairing the examples of a data set with the answers of a store."""
