"""TensorFlow's own table of metadata in a TFLite file, which readers on Android and MediaPipe look for.

The packages that write it are `tflite-support`, of which nothing came after 2023, and MediaPipe, which brings a vision
library along. The table is small and its fields are numbered for good, so it is written here with flatbuffers itself;
MediaPipe's reader reads it.
"""

IDENTIFIER = b"M001"
NAME = b"TFLITE_METADATA"
_AXIS_LABELS = 2
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_COLOUR_SPACES = {3: 1, 1: 2}


def packed(name, inputs, outputs):
    """Write the table.

    Args:
        name: str, of the model.
        inputs: list of dict, in the graph's order: `name`; `shape`, a list; `normalization`, None or a dict of the
            lists `mean` and `std` by which (value - mean) / std is to be fed.
        outputs: list of dict, in the graph's order: `name`, and `file`, None or the name of the file of its labels.

    Returns:
        bytes.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    tables = [_vector(builder, [_tensor(builder, **tensor) for tensor in side]) for side in (inputs, outputs)]
    graph = _table(builder, 10, [(2, tables[0]), (3, tables[1])])
    model = _table(builder, 8, [(0, builder.CreateString(name)), (3, _vector(builder, [graph]))])
    builder.Finish(model, IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder, name, shape=(), normalization=None, file=None):
    fields = [(0, builder.CreateString(name)), (3, _content(builder, shape))]
    if normalization is not None:
        sides = [_floats(builder, normalization[key]) for key in ("mean", "std")]
        options = _table(builder, 2, list(enumerate(sides)))
        fields.append((4, _vector(builder, [_union(builder, 1 + 1, 0, _NORMALIZATION, options)])))
    if file is not None:
        labels = _table(builder, 5, [(0, builder.CreateString(file))], {2: _AXIS_LABELS})
        fields.append((6, _vector(builder, [labels])))
    return _table(builder, 7, fields)


def _content(builder, shape):
    """Say whether a tensor is an image, which readers scale and turn for the model, or anything else."""
    if len(shape) == 4 and shape[-1] in _COLOUR_SPACES:
        image = _table(builder, 2, [], {0: _COLOUR_SPACES[shape[-1]]})
        return _union(builder, 3, 0, _IMAGE, image)
    return _union(builder, 3, 0, _FEATURE, _table(builder, 0, []))


def _union(builder, slots, first, kind, table):
    return _table(builder, slots, [(first + 1, table)], {first: kind})


def _table(builder, slots, fields, small=()):
    """Write a table of references, by the number of their field, and of numbers of one byte."""
    builder.StartObject(slots)
    for slot, offset in fields:
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in dict(small).items():
        builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _vector(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder, numbers):
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(list(numbers)):
        builder.PrependFloat32(number)
    return builder.EndVector()
