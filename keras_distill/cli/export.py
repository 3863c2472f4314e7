"""`keras-distill export`: a trained model to verified files."""

import click

from keras_distill._core.messages import expected
from keras_distill.cli import files, session

_FORMATS = (
    "saved_model, tflite, tflite_float16, tflite_dynamic_range, tflite_int8, tflite_int8_float_io, tflite_int16x8, "
    "tflite_weights_int8, tflite_weights_int4, tflite_dynamic_batch, onnx, c_array, c_array_int8"
)


@click.command(
    epilog="Example: keras-distill export student.keras --formats tflite,tflite_int8 --calibration-data train.npz "
    "--evaluation-data test.npz --labels labels.txt --targets android --out exported"
)
@click.argument("model", type=click.Path())
@click.option(
    "--formats", default="saved_model,tflite", show_default=True, help=f"Names, separated by commas: {_FORMATS}."
)
@click.option("--out", type=click.Path(), help="Folder to write.  [default: MODEL without its ending]")
@click.option("--calibration-data", type=click.Path(), help="NumPy file (.npz) with x; needed for calibrated formats.")
@click.option("--evaluation-data", type=click.Path(), help="NumPy file (.npz) with x and, for accuracy, y.")
@click.option("--calibration", default="min_max", show_default=True, help="How int8 ranges are taken: or percentile.")
@click.option("--labels", type=click.Path(), help="Text file (.txt) of class names, one a line, to go into the files.")
@click.option("--targets", default="", help="Names, separated by commas: android, microcontroller, web, arm64.")
@click.option("--scale", type=float, help="Put `raw bytes x SCALE` into the files, 0.00392156862745098 for 1/255.")
@click.option("--mean", default="", help="Then subtract this, one number or one per channel, separated by commas.")
@click.option("--std", default="", help="Then divide by this, likewise.")
@click.option("--time-limit", type=float, default=600.0, show_default=True, help="Seconds for one conversion.")
def command(
    model, formats, out, calibration_data, evaluation_data, calibration, labels, targets, scale, mean, std, time_limit
):
    """Write MODEL, a .keras file, to files, and verify each by another runtime. Of a Distiller, the student is taken.

    Each file is run on the evaluation data (or, without any, on the calibration data) and compared with the model. A
    file that does not agree is not kept. Keras's safe mode stays on: models that hold code are refused. With --scale,
    --mean or --std the files take bytes, as a camera gives them, and give probabilities; so does the data.
    """
    with session.report_users_errors():
        model = files.existing(model, ".keras", "a model saved by Keras")
        data = {"calibration_data": files.samples(calibration_data), "evaluation_data": files.samples(evaluation_data)}
        names = files.lines(labels, "class names")
        session.start_tensorflow()
        from keras_distill.export.exporter import export

        report = export(
            _load(model),
            out or model.with_suffix(""),
            formats=_words(formats),
            labels=names,
            targets=_words(targets),
            calibration=calibration,
            preprocessing=_preprocessing(scale, _numbers("--mean", mean), _numbers("--std", std)),
            time_limit=time_limit,
            **data,
        )
    # As text of a fixed width: a narrow window wraps it, where rich would cut cells short.
    click.echo(report)
    session.finish(report.passed)


def _words(text):
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(option, text):
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise ValueError(expected(f"{option} to be numbers, separated by commas", repr(text))) from error


def _preprocessing(scale, mean, std):
    from keras_distill.export.preprocessing import Preprocessing

    given = {name: value for name, value in (("scale", scale), ("mean", mean), ("std", std)) if value not in (None, ())}
    return Preprocessing(**given) if given else None


def _load(path):
    import keras

    from keras_distill.distiller.model import Distiller  # So that Keras knows it, should this be one.

    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(expected(f"{path} to be a model that Keras loads in safe mode", reason)) from error
    return model.student if isinstance(model, Distiller) else model
