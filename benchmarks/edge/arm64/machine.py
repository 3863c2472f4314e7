"""Unpack an arm64 Debian with LiteRT into a folder, and run single programs in it under qemu, without booting it."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys

QEMU = "qemu-aarch64-static"
PROCESSOR = "cortex-a76"
RELEASE, PYTHON = "bookworm", "3.11"
_TOOLS = {QEMU: "qemu-user-static", "mmdebstrap": "mmdebstrap"}
_DEBIAN_PACKAGES = f"python{PYTHON},libstdc++6"
_REPOSITORY = pathlib.Path(__file__).parents[3]
# How qemu's processor describes itself. Programs that qemu runs see the host's file otherwise, and LiteRT, which
# looks for an ARM processor in it, crashes.
_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""


class Machine:
    """An arm64 root with Python and LiteRT.

    Attributes:
        version: str, of LiteRT.
    """

    def __init__(self, work):
        """Set up what is missing in the folder `work`; 250 MB and a minute the first time."""
        missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
        if missing:
            raise SystemExit(f"Expected qemu and mmdebstrap. On Debian: apt-get install {' '.join(missing)}")
        self.version = importlib.metadata.version("ai-edge-litert")
        self._root = work / f"debian-{RELEASE}-arm64"
        self._packages = work / f"litert-{self.version}"
        _once(self._root, _unpack_debian)
        _once(self._packages, self._install_litert)

    def ask(self, requests, seconds):
        """Answer requests by `keras_distill.export.runtimes.session`, the code that runs files on this machine too.

        Args:
            requests: list of tuples: name of a function and a dict of its arguments.
            seconds: float, how long all of them may take.

        Returns:
            list of what they returned.

        Raises:
            RuntimeError: if one raised, or the process died or took too long.
        """
        worker = _REPOSITORY / "keras_distill" / "export" / "worker.py"
        lines = [json.dumps({"function": name, "arguments": arguments}) for name, arguments in requests]
        done = self.run([str(worker), "keras_distill.export.runtimes.session"], "\n".join(lines) + "\n", seconds)
        replies = [json.loads(line) for line in done.stdout.splitlines()]
        errors = [reply["error"] for reply in replies if "error" in reply]
        if errors or len(replies) < len(requests):
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise RuntimeError(errors[0] if errors else f"its process died, with exit status {done.returncode}: {last}")
        return [reply["value"] for reply in replies]

    def run(self, arguments, text, seconds):
        """Run Python on text as standard input; return a `subprocess.CompletedProcess`."""
        command = [QEMU, "-cpu", PROCESSOR, "-L", str(self._root), str(self._root / "usr/bin" / f"python{PYTHON}")]
        path = os.pathsep.join(map(str, (self._packages, _REPOSITORY)))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            return subprocess.run(
                [*command, *arguments], input=text, capture_output=True, text=True, timeout=seconds, env=environment
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"it took longer than {seconds:g} s and was stopped") from None

    def _install_litert(self, folder):
        wanted = (f"ai-edge-litert=={self.version}", "numpy")
        # By name: those of their dependencies that running a file does not need stay away.
        tags = [part for glibc in (17, 27, 28) for part in ("--platform", f"manylinux_2_{glibc}_aarch64")]
        options = ["--only-binary=:all:", "--no-deps", "--python-version", PYTHON, *tags, "--target", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options, *wanted], check=True)


def _unpack_debian(folder):
    # Unpacked only: no program of it runs while it is set up, so that no binfmt is needed.
    command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", f"--include={_DEBIAN_PACKAGES}"]
    subprocess.run([*command, RELEASE, str(folder)], check=True)
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(_CPUINFO)


def _once(folder, fill):
    """Fill a folder that is not there yet, beside its place, so that it is there in whole or not at all."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    fill(beside)
    beside.rename(folder)
