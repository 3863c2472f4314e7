"""Figures as SVG, and model inputs as images."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from keras_distill.drawing import pictures, style, svg


def drawn(name="first", title="<b>&"):
    figure, axes = style.new_figure(3, 2)
    axes.scatter([1, 2], [1, 2])
    axes.set_title(title)
    return svg.inline(figure, name, 'two "points"')


def test_svg_has_a_description_unique_ids_and_the_same_bytes_twice():
    text = drawn()
    root = ElementTree.fromstring(text)
    assert root.attrib == {"viewBox": "0 0 216 144", "role": "img", "aria-label": 'two "points"'}
    assert "<b>&" in [element.text for element in root.iter("text")]
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids and all(each.startswith("first-") for each in ids)
    assert not {*ids} & {*re.findall(r'\bid="([^"]+)"', drawn("second"))}
    assert text == drawn() and "<style" not in text and "<metadata" not in text


def test_data_uris_are_png():
    grey = np.arange(6.0).reshape(2, 3, 1) / 5.0
    kind, _, content = pictures.data_uri(grey).partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/png;base64" and image.format == "PNG"
    assert np.asarray(image).tolist() == [[255, 204, 153], [102, 51, 0]]
    large = pictures.data_uri(np.zeros((500, 300, 3))).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(large))).size == (154, 256)


@pytest.mark.parametrize(("values", "bytes_"), [([0, 127.5, 255], [0, 128, 255]), ([-2.0, 0.0, 2.0], [0, 128, 255])])
def test_pixels_of_any_range(values, bytes_):
    assert pictures.pixels(np.array([[values]])).tolist() == [[bytes_]]
