"""Reading and writing the parts of `results.json`: dataclasses from JSON objects, with every value checked."""

import dataclasses
import numbers
import typing
from typing import Any, TypeVar

from keras_distill._core.messages import expected

_FIX = "The file is damaged, or of another version: run it again."
# Type of a field -> the type of its JSON value, and what messages call it.
_KINDS: dict[Any, tuple[type, str]] = {
    str: (str, "a text"),
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: (numbers.Real, "a number"),
    list: (list, "a list"),
    dict: (dict, "an object"),
}
_Record = TypeVar("_Record", bound="Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Base of the dataclasses that mirror JSON objects."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return {field.name: _as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls: type[_Record], record: Any, where: object) -> _Record:
        """Return the record that a JSON object holds.

        Args:
            record: The object, a dict. Keys that have a default here may be missing, and unknown keys are ignored.
            where: What holds the object, for the message.

        Raises:
            ValueError: If it is no object, or a value has another type.
        """
        if not isinstance(record, dict):
            raise ValueError(damaged(where, "an object", type(record).__name__))
        hints = typing.get_type_hints(cls)
        fields = [field for field in dataclasses.fields(cls) if field.name in record or _is_required(field)]
        for field in fields:
            _check_kind(field.name, record.get(field.name), hints[field.name], where)
        return cls(**{field.name: cls._parse(field.name, record[field.name], hints, where) for field in fields})

    @classmethod
    def _parse(cls, name: str, value: Any, hints: dict[str, Any], where: object) -> Any:
        hint, place = hints[name], f"{name} of {where}"
        if _is_record(hint):
            return hint.from_json(value, place)
        item: Any = next(iter(typing.get_args(hint)), None)
        if isinstance(value, list) and _is_record(item):
            return [item.from_json(each, place) for each in value]
        if isinstance(value, list) and item is str and not all(isinstance(each, str) for each in value):
            raise ValueError(damaged(where, f"words as {name}", value))
        return value


def damaged(where: object, what: str, received: object) -> str:
    """Return the message for a file of a run that does not hold what it should."""
    return expected(f"{where} to hold {what}", received, _FIX)


def _as_json(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    return [_as_json(each) for each in value] if isinstance(value, list) else value


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Record)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _check_kind(name: str, value: Any, hint: Any, where: object) -> None:
    optional = type(None) in typing.get_args(hint)
    plain = typing.get_args(hint)[0] if optional else hint
    kind = dict if _is_record(plain) else typing.get_origin(plain) or plain
    types, words = _KINDS[float if optional and kind is int else kind]
    if optional and value is None:
        return
    if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(damaged(where, f"{name}, {words}{' or null' if optional else ''}", repr(value)[:80]))
