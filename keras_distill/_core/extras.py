"""Optional packages: the error for a missing one says what to install, in a command that works."""

import importlib.metadata
import re

from keras_distill._core.messages import expected

_DISTRIBUTION = __name__.split(".")[0]
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


def missing(what: str, error: ImportError, extra: str) -> ImportError:
    """Return the error for an optional package that is not installed.

    Args:
        what: The package, and what it is for: `"matplotlib, which draws the plots"`.
        error: What its import raised.
        extra: The extra of this package that it belongs to.

    Example:

    >>> print(missing("KerasTuner", ImportError("No module named 'keras_tuner'"), "tune"))
    Expected KerasTuner. Received: No module named 'keras_tuner'. Install it: pip install "keras-tuner>=1.4.8".
    """
    return ImportError(expected(what, str(error), f"Install it: {install_command(extra)}."))


def install_command(extra: str) -> str:
    """Return the command that installs an extra: by its packages, since a clone is on no package index.

    Example:

    >>> install_command("tune")
    'pip install "keras-tuner>=1.4.8"'
    """
    found = [each for each in _requirements() if extra in _EXTRA.findall(each.partition(";")[2])]
    packages = [each.partition(";")[0].strip() for each in found] or [f"{_DISTRIBUTION}[{extra}]"]
    return "pip install " + " ".join(f'"{package}"' for package in packages)


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
