"""The one form of every message."""

import pathlib
import re

import keras_distill
from keras_distill._core.messages import expected, unknown_name


def test_form():
    assert expected("a thing", "x=3") == "Expected a thing. Received: x=3."
    assert expected("a thing", "x=3", "Do that.") == "Expected a thing. Received: x=3. Do that."


def test_nearest_name():
    known = {"mse", "mae", "kl_divergence"}
    message = "Expected loss to be one of kl_divergence, mae, mse. Received: 'kl_div'. Did you mean 'kl_divergence'?"
    assert unknown_name("loss", "kl_div", known) == message
    assert unknown_name("loss", "zzz", known) == "Expected loss to be one of kl_divergence, mae, mse. Received: 'zzz'."
    assert unknown_name("layer", 3, []) == "Expected layer to be one of (none). Received: 3."


def test_every_value_error_of_these_rooms_has_the_form():
    rooms = pathlib.Path(keras_distill.__file__).parent
    checked = ("_core", "losses", "features", "metrics", "schedules")
    files = [path for room in checked for path in (rooms / room).rglob("*.py")]
    raised = [match for path in files for match in re.findall(r"raise (\w+Error\(\s*\w+)", path.read_text())]
    assert len(raised) > 10
    for call in raised:
        assert re.fullmatch(
            r"ValueError\(\s*(expected|unknown_name|refusal)|FloatingPointError\(expected|NotImplementedError\(f|ImportError\(expected|AttributeError\(f",
            call,
        )
