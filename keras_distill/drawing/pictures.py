"""Model inputs that are images, as pixels to display."""

import base64
import io
from typing import Any

import numpy as np

_LARGEST = 256


def is_picture(sample: Any) -> bool:
    """Return whether an input can be displayed: `[height, width, channels]` with one grey or three RGB channels.

    Example:

    >>> is_picture(np.zeros((8, 8, 1))), is_picture(np.zeros((8, 8, 2))), is_picture(np.zeros(8))
    (True, False, False)
    """
    return np.ndim(sample) == 3 and np.shape(sample)[-1] in (1, 3)


def pixels(picture: Any) -> np.ndarray:
    """Return an image as bytes to display, whatever its range: 0 to 1, -1 to 1, 0 to 255, or standardised.

    Grey images are inverted to dark ink on white, as handwriting is read.

    Args:
        picture: Array `[height, width, channels]` for which `is_picture` is true.

    Returns:
        A `uint8` array `[height, width]` or `[height, width, 3]`.

    Example:

    >>> pixels(np.array([[[0.0], [1.0]]])).tolist(), pixels(np.array([[[-1.0, 0.0, 1.0]]])).tolist()
    ([[255, 0]], [[[0, 128, 255]]])
    """
    picture = np.nan_to_num(np.asarray(picture, "float64"))
    low, high = min(0.0, picture.min()), max(1.0, picture.max())
    scaled = (picture - low) / (high - low)
    scaled = 1.0 - scaled[..., 0] if scaled.shape[-1] == 1 else scaled
    return np.floor(255.0 * scaled + 0.5).astype("uint8")


def data_uri(picture: Any) -> str:
    """Return an image as the `data:` URI of a PNG, to embed in a page."""
    # A dependency of matplotlib, which the page needs in any case.
    from PIL import Image

    image, content = Image.fromarray(pixels(picture)), io.BytesIO()
    image.thumbnail((_LARGEST, _LARGEST))
    image.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
