"""How much the viewer gives to strangers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """upload_bytes, upload_seconds: of one request body. decode_seconds, decode_bytes: time and memory of the process
    that reads one file. uploads: read at the same time. images: that a session keeps; the oldest makes room. jobs:
    post-hoc explanations that a session has waiting or running. waiting: pieces of work that wait for the model.
    sessions: at the same time. idle_seconds: after which a session is forgotten."""

    upload_bytes: int = 64 << 20
    upload_seconds: float = 60
    decode_seconds: float = 20
    decode_bytes: int = 2 << 30
    uploads: int = 2
    images: int = 12
    jobs: int = 8
    waiting: int = 256
    sessions: int = 64
    idle_seconds: float = 1800
