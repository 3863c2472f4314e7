"""Converters, which run in a process of their own, and the intermediate files that they share."""
