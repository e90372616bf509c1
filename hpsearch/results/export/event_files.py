"""Encodes TensorBoard's event files, which are protobuf messages in TFRecords, without a library that imports torch.

Only what a sweep needs is there: scalars by step, and the hyperparameters of a run for TensorBoard's HParams page.

Source:
    tensorboard/compat/proto/event.proto, summary.proto and tensorboard/plugins/hparams/*.proto (field numbers);
    TensorFlow, "TFRecord and tf.train.Example" (framing and masked CRC-32C).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum

HPARAMS = "hparams"
"""Name of TensorBoard's plugin for hyperparameters."""
Parameter = str | bool | int | float
"""A value that the HParams page can show."""


class Status(IntEnum):
    """How a run ended, as TensorBoard numbers it."""

    SUCCESS = 1
    FAILURE = 2
    RUNNING = 3


def event_file(events: Iterable[bytes]) -> bytes:
    """The content of an event file.

    Args:
        events: From the functions below, in any order.
    """
    version = _double(1, 0.0) + _bytes(3, b"brain.Event:2")
    return b"".join(_record(event) for event in (version, *events))


def scalar(tag: str, value: float, *, step: int, at_s: float) -> bytes:
    """One point of a curve.

    Args:
        tag: Name of the curve; TensorBoard groups names by the part before a slash.
        value: Stored as float32, as TensorBoard expects it.
        step: At least 0.
        at_s: Time of day, in seconds since 1970.
    """
    return _event(_bytes(1, tag.encode()) + _float(2, value), step=step, at_s=at_s)


def session_start(parameters: Mapping[str, Parameter], *, at_s: float) -> bytes:
    """The hyperparameters of the run, and when it began, in seconds since 1970."""
    entries = [_bytes(1, name.encode()) + _bytes(2, _value(value)) for name, value in parameters.items()]
    started = b"".join(_bytes(1, entry) for entry in entries) + _double(5, at_s)
    return _hparams_event("_hparams_/session_start_info", _bytes(3, started), at_s=at_s)


def session_end(status: Status, *, at_s: float) -> bytes:
    """How the run ended, and when, in seconds since 1970."""
    return _hparams_event("_hparams_/session_end_info", _bytes(4, _int(1, status) + _double(2, at_s)), at_s=at_s)


def _hparams_event(tag: str, content: bytes, *, at_s: float) -> bytes:
    plugin_data = _bytes(1, HPARAMS.encode()) + _bytes(2, _int(1, 0) + content)
    return _event(_bytes(1, tag.encode()) + _bytes(9, _bytes(1, plugin_data)), step=0, at_s=at_s)


def _event(summary_value: bytes, *, step: int, at_s: float) -> bytes:
    return _double(1, at_s) + _int(2, step) + _bytes(5, _bytes(1, summary_value))


def _value(value: Parameter) -> bytes:
    """A parameter's value as a message `google.protobuf.Value`."""
    if isinstance(value, bool):
        return _int(4, value)
    return _bytes(3, value.encode()) if isinstance(value, str) else _double(2, float(value))


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", max(min(value, _FLOAT_MAX), -_FLOAT_MAX))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_entry, range(256)))
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
