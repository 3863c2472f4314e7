"""Inputs that are pictures, as pixels to look at."""

import base64
import io

import numpy as np

_LARGEST = 256


def is_picture(sample):
    """Say whether an input can be shown: `[height, width, channels]`, grey or red, green and blue.

    Example:

    >>> is_picture(np.zeros((8, 8, 1))), is_picture(np.zeros((8, 8, 2))), is_picture(np.zeros(8))
    (True, False, False)
    """
    return np.ndim(sample) == 3 and np.shape(sample)[-1] in (1, 3)


def pixels(picture):
    """Return a picture as bytes to show, whatever range a model takes: 0 to 1, -1 to 1, 0 to 255, standardised.

    Grey ones are turned to dark ink on white, as handwriting is read.

    Args:
        picture: Array `[height, width, channels]`, for which `is_picture` holds.

    Returns:
        A `uint8` array `[height, width]` or `[height, width, 3]`.

    Example:

    >>> pixels(np.array([[[0.0], [1.0]]])).tolist(), pixels(np.array([[[-1.0, 0.0, 1.0]]])).tolist()
    ([[255, 0]], [[[0, 128, 255]]])
    """
    picture = np.nan_to_num(np.asarray(picture, "float64"))
    low, high = min(0.0, picture.min()), max(1.0, picture.max())
    shares = (picture - low) / (high - low)
    shares = 1.0 - shares[..., 0] if shares.shape[-1] == 1 else shares
    return np.floor(255.0 * shares + 0.5).astype("uint8")


def data_uri(picture):
    """Return a picture as the `data:` URI of a PNG, which a page holds in itself."""
    # Comes with matplotlib, which the page needs in any case.
    from PIL import Image

    image, content = Image.fromarray(pixels(picture)), io.BytesIO()
    image.thumbnail((_LARGEST, _LARGEST))
    image.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
