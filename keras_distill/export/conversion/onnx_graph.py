"""Finishing what tf2onnx writes: operators that ONNX does not have, and the name of the free size."""


def finish(model):
    """Rewrite exact GELU in ONNX's own operators, call the free size `batch`, and check the model.

    Args:
        model: `onnx.ModelProto`; it is changed in place.

    Raises:
        onnx.checker.ValidationError: if it is not valid.
    """
    import onnx

    _without_erfc(model.graph)
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_param = "batch"
    onnx.checker.check_model(model)


def _without_erfc(graph):
    """Replace erfc(x), which tf2onnx passes on although ONNX has no such operator, by 1 - erf(x)."""
    from onnx import helper

    found = [node for node in graph.node if node.op_type == "Erfc"]
    for node in found:
        erf, one = f"{node.name}/erf", f"{node.name}/one"
        place = list(graph.node).index(node)
        graph.node.remove(node)
        graph.initializer.append(helper.make_tensor(one, 1, (), [1.0]))
        graph.node.insert(place, helper.make_node("Erf", list(node.input), [erf], name=erf))
        graph.node.insert(place + 1, helper.make_node("Sub", [one, erf], list(node.output), name=f"{node.name}/sub"))
