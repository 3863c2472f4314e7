"""Keys: hashes of inputs, hashes of ids, and the index that finds them."""

import hashlib

import numpy as np
import pytest

from keras_distill.targets import key_of
from keras_distill.targets.store.index import Index
from keras_distill.targets.store.keys import content_keys, id_keys, lengths_of

X = np.arange(12, dtype="float32").reshape(2, 3, 2)


def test_a_key_hashes_dtype_shape_and_bytes():
    text = b" <f4(3, 2)" + X[0].tobytes()
    digest = hashlib.blake2b(text, digest_size=16).digest()
    assert key_of(X[0]).astype("<u8").tobytes() == digest
    np.testing.assert_array_equal(content_keys([""], [X])[0], key_of(X[0]))


@pytest.mark.parametrize(
    "other",
    [X[0].astype("float64"), X[0].reshape(2, 3), X[0][..., None], X[1], np.nextafter(X[0], 1), {"a": X[0]}],
    ids=["dtype", "shape", "axis", "content", "one bit", "name"],
)
def test_every_difference_changes_the_key(other):
    assert key_of(other).tolist() != key_of(X[0]).tolist()


def test_strings_and_nests():
    assert key_of({"a": np.array("ab"), "b": X[0]}).tolist() != key_of({"a": np.array("abc"), "b": X[0]}).tolist()
    texts = np.array([b"ab", b"c"], object)
    assert len(set(map(tuple, content_keys(["t"], [texts])))) == 2


def test_strings_have_one_key_in_every_kind_of_array():
    keys = [content_keys(["t"], [np.array(["ab", "c"], kind)]) for kind in ("U", "S", "U7", object)]
    assert len({each.tobytes() for each in keys}) == 1
    assert key_of({"t": np.array("ab")}).tolist() == key_of({"t": "ab"}).tolist() == keys[0][0].tolist()


def test_padding_does_not_change_the_key():
    short, long = np.array([[5, 7, 0]]), np.array([[5, 7, 0, 0, 0]])
    keys = [content_keys(["ids"], [each], lengths_of(each, 0), each.shape[1]) for each in (short, long)]
    np.testing.assert_array_equal(*keys)
    np.testing.assert_array_equal(keys[0], content_keys(["ids"], [np.array([[5, 7]])]))


def test_ids():
    np.testing.assert_array_equal(id_keys(np.array([1, 2], "int32")), id_keys(np.array([1, 2], "uint8")))
    assert len(set(map(tuple, id_keys(np.array([b"1", b"2"], object))))) == 2
    assert id_keys(np.array([1])).tolist() != id_keys(np.array([b"1"], object)).tolist()
    with pytest.raises(ValueError, match="one integer or string"):
        id_keys(np.array([1.0]))


def test_the_index_finds_every_key_and_no_other():
    generator = np.random.default_rng(0)
    keys = generator.integers(0, 4, (300, 2)).astype("uint64")  # Many keys share a half.
    first = {}
    for position, key in enumerate(map(tuple, keys.tolist())):
        first.setdefault(key, position)
    wanted = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2).astype("uint64")
    expected = [first.get(tuple(key), -1) for key in wanted.tolist()]
    assert Index(keys).find(wanted).tolist() == expected


@pytest.mark.parametrize("copies", [1, 2, 20_000])
def test_a_look_up_takes_as_many_steps_however_many_keys_are_equal(copies):
    keys = np.array([[7, 1], [3, 1], *[[5, 2]] * copies, [9, 9]], "uint64")
    index = Index(keys)
    assert index.find(keys[[0, 1, 2, -2, -1]]).tolist() == [0, 1, 2, 2, copies + 2]
    assert index.find(np.array([[5, 1], [5, 3]], "uint64")).tolist() == [-1, -1]
    assert index._steps == 1
