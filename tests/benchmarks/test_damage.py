"""Some of the random bits that `benchmarks.damage` flips, in stores of every kind."""

import pytest

from benchmarks import damage


@pytest.mark.slow
def test_no_flipped_bit_is_missed(tmp_path, monkeypatch):
    paths = damage.write_stores(tmp_path)
    counts, missed = damage.count_flips(paths, 400, seed=1)
    assert not missed
    assert {outcomes["npy: noticed"] for outcomes in counts.values()} == {50}
    assert min(outcomes["json: noticed"] for outcomes in counts.values()) >= 25
    # One that is missed would be counted: those in the manifest are, where it is all that is read, and nothing is checked.
    monkeypatch.setattr(damage, "read", lambda path: {"content": (path / "manifest.json").read_bytes()})
    counts, missed = damage.count_flips(paths[:1], 20, seed=1)
    assert len(missed) == counts["dense"]["json: missed"] > 0
