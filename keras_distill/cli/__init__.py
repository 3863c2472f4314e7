"""The command `keras-distill`: one file per command, each imported when it is called."""

from keras_distill.cli.group import main

__all__ = ["main"]
