"""Students of the zoo in every format: each cell passes or gives the reason; nothing crashes.

One student is exported to every format; the others to those with a reason, and to those in `SHIPPED`.
"""

import pytest

from keras_distill import export as room
from tests.export.students import STUDENTS, specimen

MICRO = "it cannot be run: ValueError: Expected a file that the microcontroller runtime can run. Received: the "
NO_GELU = f"{MICRO}microcontroller runtime has no GELU"
# Bodies of random weights are less robust than trained ones: rounding to so few steps changes answers.
TURNED = "agreement of output"

# Cells that do not pass, and their status.
EXPLAINED = {
    ("cnn", "tflite_weights_int4"): TURNED,
    ("mobilenet", "tflite_int8"): TURNED,
    ("mobilenet", "tflite_int8_float_io"): TURNED,
    ("mobilenet", "tflite_uint8"): TURNED,
    ("mobilenet", "c_array_int8"): TURNED,
    ("mobilenet", "tflite_weights_int4"): TURNED,
    ("vit", "tflite_weights_int4"): TURNED,
    ("vit", "c_array"): NO_GELU,
    ("vit", "c_array_int8"): NO_GELU,
    ("lstm", "tflite_int8"): TURNED,
    ("lstm", "tflite_int8_float_io"): TURNED,
    ("lstm", "tflite_uint8"): TURNED,
    ("lstm", "c_array_int8"): TURNED,
    ("lstm", "tflite_weights_int4"): TURNED,
    ("gru", "tflite_weights_int4"): TURNED,
    ("two_ends", "tflite_weights_int4"): TURNED,
}


SHIPPED = {"tflite", "tflite_int8", "tflite_int16x8", "c_array", "c_array_int8"}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_every_format(name, tmp_path):
    kind = specimen(name)
    explained = {format for student, format in EXPLAINED if student == name}
    formats = [each for each in room.FORMATS if name == "cnn" or each in explained | SHIPPED]
    report = room.export(
        kind.student,
        tmp_path / "out",
        tuple(formats),
        calibration_data=kind.calibration,
        evaluation_data=kind.evaluation,
    )
    for row in report:
        why = EXPLAINED.get((name, row.format))
        assert row.passed if why is None else why in row.status, f"{row.format}: {row.status}\n{row.log[-1000:]}"
    kept = {entry.name for entry in (tmp_path / "out").iterdir()} - {"export.json", "README.md"}
    assert kept == {room.FORMATS[row.format].filename for row in report if row.passed}
