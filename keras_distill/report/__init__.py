"""What a run found, for readers: tables for a terminal, figures for a page."""

from keras_distill.report import methods, plots, tables

__all__ = ["methods", "plots", "tables"]
