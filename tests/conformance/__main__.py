"""Check every case of every file of vectors in a folder, in float64 and in float32.

    python -m tests.conformance FOLDER

Prints the number of passed cases of each method, and every failure. The exit code is 1 if a case failed.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib

from tests.conformance.runner import check_folder

if __name__ == "__main__":
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    sys.exit(0 if check_folder(pathlib.Path(sys.argv[1]), print) else 1)
