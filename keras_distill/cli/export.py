"""`keras-distill export`: a trained model to verified files."""

import pathlib

import click

from keras_distill._messages import expected
from keras_distill.cli import session


@click.command(
    epilog="Example: keras-distill export student.keras --formats tflite,tflite_int8 --calibration-data train.npz "
    "--evaluation-data test.npz --out exported"
)
@click.argument("model", type=click.Path())
@click.option(
    "--formats",
    default="saved_model,tflite",
    show_default=True,
    help="Names, separated by commas: saved_model, tflite, tflite_int8.",
)
@click.option("--out", type=click.Path(), help="Folder to write.  [default: MODEL without its ending]")
@click.option("--calibration-data", type=click.Path(), help="NumPy file (.npz) with x; needed for tflite_int8.")
@click.option("--evaluation-data", type=click.Path(), help="NumPy file (.npz) with x and, for accuracy, y.")
def command(model, formats, out, calibration_data, evaluation_data):
    """Write MODEL, a .keras file, to files, and verify each by another runtime. Of a Distiller, the student is taken.

    Each file is run on the evaluation data (or, without any, on the calibration data) and compared with the model. A
    file that does not agree is not kept. Keras's safe mode stays on: models that hold code are refused.
    """
    with session.users_errors():
        model = _existing(model, ".keras", "a model saved by Keras")
        calibration, evaluation = _arrays(calibration_data), _arrays(evaluation_data)
        session.start_tensorflow()
        from keras_distill.export import export

        report = export(
            _load(model),
            out or model.with_suffix(""),
            formats=[name.strip() for name in formats.split(",") if name.strip()],
            calibration_data=calibration,
            evaluation_data=evaluation,
        )
    # As text of a fixed width: a narrow window wraps it, where rich would cut cells short.
    click.echo(report)
    session.finish(report.passed)


def _load(path):
    import keras

    from keras_distill.distiller import Distiller  # So that Keras knows it, should this be one.

    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(expected(f"{path} to be a model that Keras loads in safe mode", reason)) from error
    return model.student if isinstance(model, Distiller) else model


def _arrays(path):
    """Return `x`, or `(x, y)`, of a NumPy file; `None` where there is no file to read."""
    if path is None:
        return None
    import numpy as np

    path = _existing(path, ".npz", "arrays named x and, for labels, y")
    try:
        # A pickle could run code.
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError) as error:
        raise ValueError(expected(f"{path} to be a NumPy file without pickles", str(error))) from error
    if "x" not in held:
        raise ValueError(expected(f"{path} to hold an array named x", f"{', '.join(held) or 'no arrays'}"))
    return (held["x"], held["y"]) if "y" in held else held["x"]


def _existing(path, suffix, what):
    path = pathlib.Path(path)
    if path.suffix != suffix or not path.is_file():
        raise FileNotFoundError(expected(f"an existing {suffix} file, {what}", str(path)))
    return path
