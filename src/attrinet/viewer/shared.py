"""Answers that are the same for everybody: the page, the model, the store's list."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path

import anyio
import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from attrinet.cli.run_folder import Run
from attrinet.data.store import Store
from attrinet.nets.weights import weights_hash
from attrinet.viewer import catalogue
from attrinet.viewer.explainers import choices
from attrinet.viewer.limits import Limits

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def not_here() -> HTTPException:
    """The same words whether it never was, was forgotten, or is somebody else's."""
    return HTTPException(404, "not found; it may have been forgotten: open the image again")


def binary(array: np.ndarray, kind: str = "<f4") -> Response:
    """Little-endian numbers in C order; the page knows the shape."""
    return Response(np.ascontiguousarray(array, kind).tobytes(), media_type="application/octet-stream")


def store_row(request: Request, store: Store | None) -> int:
    """The row a path names; not_here where there is no such row or no store."""
    row = request.path_params["row"]
    if store is None or row >= len(store):
        raise not_here()
    return row


class Shared:
    """files: what the page is made of, read once; a name that is not among them is not there, whatever it says."""

    def __init__(self, run: Run, store: Store | None, limits: Limits):
        self.run, self.store, self.limits, self.weights = run, store, limits, weights_hash(run.model)
        static = resources.files("attrinet.viewer").joinpath("static")
        self.files = {f.name: f.read_bytes() for f in static.iterdir() if Path(f.name).suffix in TYPES}

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise not_here()
        return Response(self.files[name], media_type=TYPES[Path(name).suffix])

    async def model_info(self, request: Request) -> Response:
        return JSONResponse(catalogue.model_info(self.run, self.store) | {
            "explainers": [asdict(choice) for choice in choices(self.run.model)],
            "limits": {"upload_bytes": self.limits.upload_bytes, "images": self.limits.images,
                       "idle_minutes": self.limits.idle_seconds / 60},
        })

    async def global_info(self, request: Request) -> Response:
        return JSONResponse(catalogue.global_info(self.run.model))

    async def centers(self, request: Request) -> Response:
        return binary(catalogue.centers(self.run.model))

    async def metrics(self, request: Request) -> Response:
        return JSONResponse(await anyio.to_thread.run_sync(catalogue.metrics, self.run.path, self.weights))

    async def store_list(self, request: Request) -> Response:
        query = request.query_params
        if self.store is None:
            raise not_here()
        listed = partial(catalogue.store_page, self.store, split=query.get("split", ""),
                         finding=query.get("finding", ""), state=query.get("state", ""), search=query.get("search", ""),
                         page=query.get("page", "0"))
        return JSONResponse(await anyio.to_thread.run_sync(listed))

    async def thumbnail(self, request: Request) -> Response:
        row = store_row(request, self.store)
        return Response(catalogue.thumbnail(self.store, row), media_type="image/png")
