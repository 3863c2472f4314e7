"""Figures as SVG within a page: described in words, and with ids that no other figure on the page has."""

import io
import warnings
from xml.etree import ElementTree

from keras_distill.drawing import style

# Left out: the time of drawing, so that the same figure gives the same bytes, and what only a file needs.
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def inline(figure, name, description):
    """Return a figure as an `<svg>` element.

    Text stays text: it is found by searching and set in the page's own font. The same figure gives the same bytes.

    Args:
        figure: A `matplotlib.figure.Figure`.
        name: What the ids within begin with; one per figure of a page.
        description: What is to be seen, in words, for those who do not see it.

    Returns:
        Markup, a string.
    """
    root = ElementTree.fromstring(_drawn(figure, name))
    for child in [*root]:
        # A style would hold for the whole page, whose own one says the same of figures.
        if child.find("{*}style") is not None or _local(child.tag) == "metadata":
            root.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _renamed(_local(key), value, name) for key, value in element.attrib.items()}
    root.attrib = {"viewBox": root.get("viewBox"), "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _drawn(figure, name):
    content = io.BytesIO()
    with style.matplotlib().rc_context({**style.STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        with warnings.catch_warnings():
            # The reader's fonts are not those that the figure is measured with.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figure.savefig(content, format="svg", metadata=_METADATA)
    return content.getvalue()


def _local(name):
    """Return a name without its namespace, which HTML does without."""
    return name.rpartition("}")[2]


def _renamed(key, value, name):
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-") if "url(#" in value else value
