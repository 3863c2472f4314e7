"""Converters, in a process of their own, and what they work from."""

from keras_distill.export.conversion.converter import Converter as Converter

__all__ = ["Converter"]
