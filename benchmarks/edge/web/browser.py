"""Serve a page, and open it in a browser."""

import contextlib
import http.server
import json
import pathlib
import queue
import shutil
import subprocess
import tempfile
import threading

PACKAGE = "@litertjs/core@2.5.3"
_HERE = pathlib.Path(__file__).parent
_TYPES = {
    "": "text/html",
    ".html": "text/html",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()


def installed(work):
    """Return the folder of Node's packages within `work`, with LiteRT.js in it, installed if it is not there."""
    modules = work / "node_modules"
    version = PACKAGE.rpartition("@")[2]
    manifest = modules / "@litertjs" / "core" / "package.json"
    if manifest.exists() and json.loads(manifest.read_text())["version"] == version:
        return modules
    if shutil.which("npm") is None:
        raise SystemExit("Expected npm on the path. Install Node.js 18 or newer, on Debian: apt-get install npm")
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", str(work), PACKAGE], check=True)
    return modules


def found(browser=None):
    """Return the path of a browser that runs headless."""
    path = next(filter(None, map(shutil.which, [browser] if browser else _BROWSERS)), None)
    if path is None:
        tried = browser or ", ".join(_BROWSERS)
        raise SystemExit(f"Expected one of {tried} on the path. On Debian: apt-get install chromium")
    return path


def results(content, modules, browser, seconds):
    """Open the page and yield the dicts that it posts, until it has finished.

    Args:
        content: dict of URL path to bytes, what the page fetches beside its own files.
        modules: path, Node's packages.
        browser: str, path of the browser.
        seconds: float, how long to wait for each post.

    Raises:
        TimeoutError: if the page says nothing for so long.
    """
    posted = queue.Queue()
    with _served(content, modules, posted) as port, _opened(browser, f"http://127.0.0.1:{port}/"):
        while True:
            try:
                result = posted.get(timeout=seconds)
            except queue.Empty:
                raise TimeoutError(f"the page said nothing for {seconds:g} s") from None
            yield result
            if result.get("done"):
                return


@contextlib.contextmanager
def _served(content, modules, posted):
    handler = type("Handler", (_Handler,), {"content": content, "modules": modules.resolve(), "posted": posted})
    # Of this machine only, on a port that is free.
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def _opened(browser, url):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *_FLAGS, f"--user-data-dir={profile}", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self._body(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header(
            "Content-Type", _TYPES.get(pathlib.PurePosixPath(self.path).suffix, "application/octet-stream")
        )
        # Isolated pages get a clock of 5 instead of 100 microseconds.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def do_POST(self):
        self.posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """Do not log requests."""

    def _body(self, path):
        if path in self.content:
            return self.content[path]
        if path in ("/", "/page.js"):
            return (_HERE / ("page.html" if path == "/" else "page.js")).read_bytes()
        file = (self.modules / path.removeprefix("/npm/")).resolve()
        return file.read_bytes() if file.is_file() and file.is_relative_to(self.modules) else None
