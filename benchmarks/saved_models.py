"""Write `saved_models/`: the digits student in every format, exported and verified.

Command     make demo && python -m benchmarks.saved_models          (writes saved_models/digits)
Cost        a minute on 2 cores, after the demo's 2.5
Expected    every format passed; the table that `saved_models/digits/README.md` shows
Needs       the extras edge, onnx and demo, and micro for the arena of the microcontroller
"""

import argparse
import pathlib
import sys

import keras

from keras_distill import data, export

FORMATS = tuple(export.FORMATS)


def main(arguments=None):
    """Export the demo's student."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="runs/demo/student.keras", help="the student to export")
    parser.add_argument("--out", default="saved_models/digits", help="folder to write")
    options = parser.parse_args(arguments)
    if not pathlib.Path(options.student).is_file():
        parser.error(f"expected a student made by `make demo`. Received: {options.student}, which is not there.")
    digits = data.digits()
    report = export.export(
        keras.saving.load_model(options.student, compile=False),
        options.out,
        formats=FORMATS,
        calibration_data=digits.train,
        evaluation_data=digits.test,
        labels=[str(digit) for digit in range(10)],
        devices=("android", "microcontroller"),
    )
    print(report)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
