"""A TFLite file as C++ source, for microcontrollers, which compile the model into the program."""

import hashlib
import os
import pathlib
import re

from keras_distill._core.messages import expected

ALIGNMENT = 16
_BYTES_PER_LINE = 19
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Names that the C++ compiler reserves.
_RESERVED = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
    const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false
    float for friend goto if inline int long main mutable namespace new noexcept not not_eq nullptr operator or
    or_eq private protected public register reinterpret_cast return short signed sizeof static static_assert
    static_cast std struct switch template this thread_local throw true try typedef typeid typename union
    unsigned using virtual void volatile wchar_t while xor xor_eq
    """.split()
)
_DEFINITION = re.compile(r"const unsigned char \w+\[\] = \{(?P<bytes>[^}]*)\};")
_FINGERPRINT = re.compile(r"^// SHA-256 ([0-9a-f]{64}), (\d+) bytes$", re.MULTILINE)
_BYTE = re.compile(r"0x[0-9a-f]{2}")

_HEADER = """\
// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 {hash}, {size} bytes
#ifndef {guard}
#define {guard}

#include <cstddef>

extern const unsigned char {name}[];
constexpr std::size_t {name}_size = {size};

#endif  // {guard}
"""

_SOURCE = """\
// A TFLite model for microcontrollers; {header} says how to use it.
// SHA-256 {hash}, {size} bytes
#include "{header}"

// The interpreter reads numbers of several bytes where they lie.
alignas({alignment}) const unsigned char {name}[] = {{
{bytes}
}};

static_assert(sizeof({name}) == {name}_size, "this source is damaged: its length is not that of the model");
"""


def write_c_array(
    model: str | os.PathLike, path: str | os.PathLike, name: str = "student"
) -> tuple[pathlib.Path, pathlib.Path]:
    """Write a TFLite file as C++ source.

    The source holds the bytes as one constant that a linker puts into flash memory, aligned as the interpreter
    requires; the header beside it declares `<name>` and `<name>_size`. Both contain the file's size and SHA-256, so
    that a program can be traced to the verified file. Both are written completely before either takes its place.

    Args:
        model: The TFLite file.
        path: Source to write, ending in `.cc`; the header gets the same name with `.h`.
        name: Name of the constant, a C identifier. Defaults to `"student"`.

    Returns:
        Tuple of two paths: the source and the header.

    Raises:
        ValueError: If the file is not a TFLite file, the path does not end in `.cc`, or the name is not a valid name in
            C++.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = pathlib.Path(folder, "digits.tflite")
        ...     _ = model.write_bytes(bytes(4) + b"TFL3" + bytes(100))
        ...     source, header = write_c_array(model, f"{folder}/digits.cc", name="digits")
        ...     read_back(source) == model.read_bytes(), "digits_size = 108" in header.read_text()
        (True, True)
    """
    data, source = pathlib.Path(model).read_bytes(), pathlib.Path(path)
    header = source.with_suffix(".h")
    _check(data, source, name)
    values = {
        "alignment": ALIGNMENT,
        "bytes": "\n".join(_format_rows(data)),
        "guard": f"{name.upper()}_H_",
        "hash": hashlib.sha256(data).hexdigest(),
        "header": header.name,
        "name": name,
        "size": len(data),
    }
    _replace({header: _HEADER.format(**values), source: _SOURCE.format(**values)})
    return source, header


def read_back(path: str | os.PathLike) -> bytes:
    """Read the TFLite file out of a source that `write_c_array` wrote, and check it against the hash in it.

    Args:
        path: The `.cc` file.

    Returns:
        The bytes of the TFLite file.

    Raises:
        ValueError: If the source is damaged: it lacks the array, or holds other bytes than were written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = pathlib.Path(folder, "digits.cc")
        ...     _ = source.write_text("// SHA-256 of nothing")
        ...     read_back(source)
        Traceback (most recent call last):
        ValueError: Expected C++ source of a TFLite file as it was written. Received: no line with one SHA-256...
    """
    text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    definitions, fingerprints = _DEFINITION.findall(text), _FINGERPRINT.findall(text)
    if len(fingerprints) != 1 or len(definitions) != 1:
        raise ValueError(_damaged("no line with one SHA-256 and size, or not one array"))
    tokens = [token.strip() for token in definitions[0].strip().rstrip(",").split(",")]
    wrong = [token for token in tokens if not _BYTE.fullmatch(token)]
    if wrong:
        raise ValueError(_damaged(f"{wrong[0]!r} in the array"))
    data = bytes(int(token, 16) for token in tokens)
    digest, size = fingerprints[0]
    if (hashlib.sha256(data).hexdigest(), len(data)) != (digest, int(size)):
        raise ValueError(_damaged(f"{len(data)} bytes where {size} of SHA-256 {digest[:12]}... were written"))
    return data


def _format_rows(data: bytes) -> list[str]:
    rows = (data[start : start + _BYTES_PER_LINE] for start in range(0, len(data), _BYTES_PER_LINE))
    return [f"  {', '.join(f'0x{byte:02x}' for byte in row)}," for row in rows]


def _check(data: bytes, source: pathlib.Path, name: object) -> None:
    if data[4:8] != b"TFL3":
        raise ValueError(expected("a TFLite file, which has the identifier TFL3 at byte 4", repr(data[4:8])))
    if source.suffix != ".cc":
        raise ValueError(expected("the path of a C++ source, which ends in .cc", repr(source.name)))
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
        fix = "Use a letter, then letters, digits and underscores, and no keyword of C++."
        raise ValueError(expected("the name of the array to be a C identifier", repr(name), fix))


def _damaged(received: str) -> str:
    return expected("C++ source of a TFLite file as it was written", received, "Export the student again.")


def _replace(texts: dict[pathlib.Path, str]) -> None:
    """Write several files beside their places, and move them there when all are written."""
    besides = {path.with_name(path.name + ".tmp"): path for path in texts}
    try:
        for beside, path in besides.items():
            beside.write_text(texts[path], encoding="utf-8")
        for beside, path in besides.items():
            beside.replace(path)
    finally:
        for beside in besides:
            beside.unlink(missing_ok=True)
