"""Vectors of the authors' own code, and our losses run on them: `python -m tests.conformance FOLDER`."""
