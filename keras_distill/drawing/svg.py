"""Figures as inline SVG: with a description in words, and ids that are unique on the page."""

import io
import warnings
from typing import Any
from xml.etree import ElementTree

from keras_distill.drawing import style

# Left out: the date, so the same figure gives the same bytes, and what only a stand-alone file needs.
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def inline(figure: Any, name: str, description: str) -> str:
    """Return a figure as an `<svg>` element.

    Text stays text: it can be searched and uses the font of the page. The same figure gives the same bytes.

    Args:
        figure: A `matplotlib.figure.Figure`.
        name: Prefix of all ids in the figure, unique on the page.
        description: Description of the figure, for readers who cannot see it.

    Returns:
        Markup, a string.
    """
    root = ElementTree.fromstring(_render(figure, name))
    for child in [*root]:
        # A style element would apply to the whole page, which has the same rules for its figures.
        if child.find("{*}style") is not None or _strip_namespace(child.tag) == "metadata":
            root.remove(child)
    for element in root.iter():
        element.tag = _strip_namespace(element.tag)
        attributes = {_strip_namespace(key): value for key, value in element.attrib.items()}
        element.attrib = {key: _prefix_ids(key, value, name) for key, value in attributes.items()}
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _render(figure, name):
    content = io.BytesIO()
    with style.matplotlib().rc_context({**style.STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        with warnings.catch_warnings():
            # The fonts of the reader's browser apply, not those that matplotlib measures the text with.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(content, format="svg", metadata=_METADATA)
    return content.getvalue()


def _strip_namespace(name):
    """Return a name without its XML namespace, which inline SVG does not need."""
    return name.rpartition("}")[2]


def _prefix_ids(key, value, name):
    """Return the value of an attribute with every id in it prefixed by the name of the figure."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-") if "url(#" in value else value
