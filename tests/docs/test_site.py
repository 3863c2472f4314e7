"""The site builds in strict mode, which refuses broken links, and documents every public name."""

import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import keras_distill

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("pages")
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("myst_nb", reason="the site needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site, pages):
    for room in pages.rooms():
        page = (site / "reference" / f"{room}.html").read_text(encoding="utf-8")
        for name in pages.public_names(room):
            thing = getattr(importlib.import_module(f"keras_distill.{room}"), name)
            known = thing.__name__ if inspect.ismodule(thing) else f"keras_distill.{room}.{name}"
            assert f'id="{known}"' in page or f'id="module-{known}"' in page, known
    assert 'id="keras_distill.Distiller"' in (site / "reference" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_needs_no_network(site):
    fetched = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)")
    found = {address for page in site.rglob("*.html") for address in fetched.findall(page.read_text(encoding="utf-8"))}
    assert found == set()


def test_every_public_name_is_documented(pages):
    for room in pages.rooms():
        for name in pages.public_names(room):
            thing = getattr(importlib.import_module(f"keras_distill.{room}"), name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                text = inspect.getdoc(thing) if thing.__doc__ else ""
                assert len(text) > 40, f"keras_distill.{room}.{name}"


def test_every_method_has_its_formula(pages):
    assert importlib.import_module("formulas").FORMULAS.keys() == keras_distill.losses.METHODS.keys()
