"""What the tests of the viewer send it and read from it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from attrinet.data.images import to_uint8
from attrinet.data.phantom import phantom

SIZE = 32


def picture(index: int = 0, size: int = 64) -> bytes:
    """A phantom radiograph as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(phantom(5, index, size).image)).save(buffer, "PNG")
    return buffer.getvalue()


def another(client: TestClient) -> TestClient:
    """Somebody else at the same viewer."""
    return TestClient(client.app, base_url="http://localhost")


def upload(client: TestClient, content: bytes, name: str = "a.png"):
    return client.post("/api/images", content=content, headers={"X-File-Name": name})


def floats(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, "<f4")


def left_in(client: TestClient) -> list[Path]:
    """Files that the viewer has on disk."""
    return list(client.app.state.viewer.folder.iterdir())
