"""Describe where a figure comes from: commit, versions and machine."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess


def environment():
    """Return the commit, the versions and the machine of this run, a dict."""
    packages = ("keras_distill", "keras", "tensorflow", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or None,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def write(path, results):
    """Write results with their environment as JSON, beside the target first and then in its place."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps({"environment": environment(), **results}, indent=1) + "\n")
    beside.replace(path)
