"""`keras-distill export`: export a trained model to verified files."""

import pathlib
from typing import Any

import click

from keras_distill._core.deprecation import warn
from keras_distill._core.messages import expected
from keras_distill.cli import files, session

_FORMATS = (
    "saved_model, tflite, tflite_float16, tflite_dynamic_range, tflite_int8, tflite_int8_float_io, tflite_int16x8, "
    "tflite_uint8, tflite_weights_int8, tflite_weights_int4, tflite_dynamic_batch, onnx, c_array, c_array_int8"
)


@click.command(
    epilog="Example: keras-distill export student.keras --formats tflite,tflite_int8 --calibration-data train.npz "
    "--evaluation-data test.npz --labels labels.txt --devices android --directory exported"
)
@click.argument("model", type=click.Path())
@click.option(
    "--formats", default="saved_model,tflite", show_default=True, help=f"Names, separated by commas: {_FORMATS}."
)
@session.directory_option("Folder to write.  [default: MODEL without its ending]")
@click.option("--calibration-data", type=click.Path(), help="NumPy file (.npz) with x; needed for calibrated formats.")
@click.option("--evaluation-data", type=click.Path(), help="NumPy file (.npz) with x and, for accuracy, y.")
@click.option(
    "--calibration", default="min_max", show_default=True, help="How int8 ranges are taken: min_max or percentile."
)
@click.option(
    "--labels", type=click.Path(), help="Text file (.txt) of class names, one per line, to write into the files."
)
@click.option("--devices", default="", help="Names, separated by commas: android, microcontroller, web, arm64.")
@click.option("--targets", default="", hidden=True, help="Old name of --devices.")
@click.option("--scale", type=float, help="Multiply raw bytes by this in the files, by 0.00392156862745098 for 1/255.")
@click.option("--mean", default="", help="Then subtract this: one number, or one per channel, separated by commas.")
@click.option("--std", default="", help="Then divide by this: one number, or one per channel, separated by commas.")
@click.option("--kinds", default="", help="What the outputs are: classes, labels or numbers; or NAME=KIND,NAME=KIND.")
@click.option("--min-agreement", type=float, help="Smallest agreement, in place of that of each format.")
@click.option("--max-difference", type=float, help="Largest difference, as a share of the range of the output.")
@click.option("--max-mean-difference", type=float, help="Largest mean difference, as a share of the same range.")
@click.option("--time-limit", type=float, default=600.0, show_default=True, help="Seconds for one conversion.")
def command(
    model: Any,
    formats: str,
    directory: str | None,
    calibration_data: str | None,
    evaluation_data: str | None,
    calibration: str,
    labels: str | None,
    devices: str,
    targets: str,
    scale: float | None,
    mean: str,
    std: str,
    kinds: str,
    min_agreement: float | None,
    max_difference: float | None,
    max_mean_difference: float | None,
    time_limit: float,
) -> None:
    """Export MODEL, a .keras file, to files, and verify each in another runtime. Of a Distiller, export the student.

    Each file is run on the evaluation data (or on the calibration data if there is none) and compared with the model. A
    file that does not agree is not kept. Keras's safe mode stays on, so models that contain code are refused. With
    --scale, --mean or --std, the files take raw bytes, as a camera gives them, and return probabilities; the data must
    then be raw bytes too.
    """
    if targets:
        warn("--targets", "--devices")
    with session.report_users_errors():
        model = files.existing(model, ".keras", "a model saved by Keras")
        calibration_samples, evaluation_samples = files.samples(calibration_data), files.samples(evaluation_data)
        names = files.lines(labels, "class names")
        session.start_tensorflow()
        from keras_distill.export.exporter import export

        report = export(
            _load(model),
            directory or model.with_suffix(""),
            formats=_words(formats),
            calibration_data=calibration_samples,
            evaluation_data=evaluation_samples,
            labels=names,
            devices=_words(devices or targets),
            calibration=calibration,
            preprocessing=_preprocessing(scale, _numbers("--mean", mean), _numbers("--std", std)),
            kinds=_kinds(kinds),
            min_agreement=min_agreement,
            max_difference=max_difference,
            max_mean_difference=max_mean_difference,
            time_limit=time_limit,
        )
    # Text of a fixed width is wrapped in a narrow window, where rich would truncate cells.
    click.echo(report)
    session.finish(report.passed)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise ValueError(expected(f"{option} to be numbers, separated by commas", repr(text))) from error


def _kinds(text: str) -> Any:
    """Return `"numbers"` as it is, and `"price=numbers,sold=labels"` as a dict; `None` for nothing."""
    words = _words(text)
    if not any("=" in word for word in words):
        return text.strip() or None
    pairs = [word.partition("=") for word in words]
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def _preprocessing(scale: float | None, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    from keras_distill.export.preprocessing import Preprocessing

    arguments: dict[str, Any] = {"scale": scale, "mean": mean, "std": std}
    given = {name: value for name, value in arguments.items() if value not in (None, ())}
    return Preprocessing(**given) if given else None


def _load(path: pathlib.Path) -> Any:
    import keras

    from keras_distill.distiller.model import Distiller

    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(expected(f"{path} to be a model that Keras loads in safe mode", reason)) from error
    return model.student if isinstance(model, Distiller) else model
