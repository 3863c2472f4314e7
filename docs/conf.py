"""The site: `python -m sphinx -W -b html docs docs/_build`. `pages.py` generates the reference and the tutorials."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from keras_distill import __version__  # noqa: E402

project = "keras_distill"
author = "the keras_distill authors"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "pages"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"keras_distill {release}"
html_copy_source = False
# Formulas are code, as in the docstrings, because MathJax would be fetched from the network.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
# Docstrings are written for editors, where single backticks mean code.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Reference"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
