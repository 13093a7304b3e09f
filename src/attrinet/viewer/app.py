"""The viewer's server: what can be asked, and by whom. The page is in static/, the work in the files beside."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import anyio
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from attrinet.cli.run_folder import Run
from attrinet.data.images import to_tensor
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.viewer import catalogue
from attrinet.viewer.decode import decode, warm_up
from attrinet.viewer.evidence import explain_finding
from attrinet.viewer.explainers import attribute, choices
from attrinet.viewer.guard import HEADERS, Guard
from attrinet.viewer.limits import Limits
from attrinet.viewer.sessions import Opened, Session, Sessions
from attrinet.viewer.shared import Shared, binary, not_here, store_row
from attrinet.viewer.work import Busy, Job, Worker

SWEEP_SECONDS = 60
log = logging.getLogger("attrinet.viewer")


def create_app(
    run: Run, store: Store | None, *, host: str = "localhost", served: Sequence[str] = (), limits: Limits | None = None
) -> Starlette:
    """The application, an ASGI one. store: whose images can be picked, or None. host, served: see Guard."""
    limits = limits or Limits()
    viewer, shared = Viewer(run, store, limits), Shared(run, store, limits)

    @asynccontextmanager
    async def lifespan(app):
        sweeper = asyncio.create_task(viewer.sweep())
        await anyio.to_thread.run_sync(warm_up)
        try:
            yield
        finally:
            sweeper.cancel()
            viewer.close()

    image = "/api/images/{image}"
    routes = [
        Route("/", shared.page),
        Route("/static/{name}", shared.page),
        Route("/api/model", shared.model_info),
        Route("/api/model/global", shared.global_info),
        Route("/api/model/centers", shared.centers),
        Route("/api/model/metrics", shared.metrics),
        Route("/api/store", shared.store_list),
        Route("/api/store/{row:int}/thumbnail", shared.thumbnail),
        Route("/api/store/{row:int}", viewer.open_from_store, methods=["POST"]),
        Route("/api/images", viewer.images),
        Route("/api/images", viewer.upload, methods=["POST"]),
        Route(image, viewer.forget, methods=["DELETE"]),
        Route(image + "/pixels", viewer.pixels),
        Route(image + "/findings/{finding:int}", viewer.finding),
        Route(image + "/findings/{finding:int}/map", viewer.finding_map),
        Route(image + "/findings/{finding:int}/mask", viewer.mask),
        Route(image + "/findings/{finding:int}/explainers/{key}", viewer.job, methods=["GET", "POST", "DELETE"]),
        Route(image + "/findings/{finding:int}/explainers/{key}/map", viewer.job_map),
        Route("/api/session", viewer.end_session, methods=["DELETE"]),
    ]
    handlers = {AttrinetError: bad_input, HTTPException: http_error, Exception: failed}
    app = Starlette(routes=routes, middleware=[Middleware(Guard, host=host, served=served)], lifespan=lifespan,
                    exception_handlers=handlers)
    app.state.viewer = viewer
    return app


async def bad_input(request: Request, error: AttrinetError) -> Response:
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, Busy) else 422)


async def http_error(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the viewer failed on this request; its terminal says more"}, 500, headers=HEADERS)


def display_name(header: str) -> str:
    """The last part of the name a browser gave, shortened, without control characters: for display, never a path."""
    name = unquote(header, errors="replace").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in name if c.isprintable())[:100].strip() or "image"


class Viewer:
    """One model, perhaps one store, and the sessions of those who look."""

    def __init__(self, run: Run, store: Store | None, limits: Limits):
        self.store, self.limits = store, limits
        self.model = run.model
        self.spare = copy.deepcopy(run.model)  # for the slow explainers, whose thread runs beside the one that predicts
        self.sessions = Sessions(limits)
        self.cookie = f"attrinet_{secrets.token_hex(4)}"  # two viewers on one machine share a cookie jar
        self.predicting, self.comparing = Worker("predict", limits.waiting), Worker("compare", limits.waiting)
        self.readers = ThreadPoolExecutor(limits.uploads, "read")
        self.reading = asyncio.Semaphore(4 * limits.uploads)
        self.folder = Path(tempfile.mkdtemp(prefix="attrinet-view-"))  # readable by this user alone

    def close(self) -> None:
        """Forget everything and stop working."""
        self.sessions.end_all()
        self.predicting.stop()
        self.comparing.stop()
        self.readers.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sessions.sweep()

    # ---- images: of one session each

    async def upload(self, request: Request) -> Response:
        name = display_name(request.headers.get("x-file-name", ""))
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.limits.upload_bytes:
            raise self._too_large(name)
        before, path = self._session(request), self.folder / secrets.token_hex(16)
        async with self.reading:
            try:
                with anyio.fail_after(self.limits.upload_seconds):
                    await self._receive(request, path, name)
                loop = asyncio.get_running_loop()
                image = await loop.run_in_executor(self.readers, decode, path, name, self.model.reader, self.limits)
            except TimeoutError as error:
                raise HTTPException(408, f"{name}: did not arrive within {self.limits.upload_seconds:g} s") from error
            finally:
                path.unlink(missing_ok=True)
        if before and self._session(request) is None:  # its owner has asked meanwhile to be forgotten
            raise not_here()
        return self._open(request, Opened(name, image, None))

    async def _receive(self, request: Request, path: Path, name: str) -> None:
        """The body, to a file; at no moment more than the limit of it."""
        size = 0
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > self.limits.upload_bytes:
                    raise self._too_large(name)
                file.write(part)

    def _too_large(self, name: str) -> HTTPException:
        return HTTPException(413, f"{name}: larger than the limit of {self.limits.upload_bytes >> 20} MB",
                             headers={"Connection": "close"})

    async def open_from_store(self, request: Request) -> Response:
        row = store_row(request, self.store)
        image = to_tensor(np.asarray(self.store.images[row])).numpy()
        return self._open(request, Opened(str(self.store.ids[row]), image, row))

    def _open(self, request: Request, opened: Opened) -> Response:
        """Start predicting, finding by finding, and answer at once. Only who opens something gets a session."""
        try:
            for finding in range(len(self.model.findings)):
                call = partial(explain_finding, self.model, opened.image, finding)
                opened.findings.append(self.predicting.submit(finding, call))
            session = self._session(request) or self.sessions.create()
        except Busy:
            opened.close()
            raise
        session.add(opened, self.limits.images)
        answer = JSONResponse(self._described(opened), 201)
        # a cookie of this browser session alone, that neither scripts nor other sites' requests can use
        answer.set_cookie(self.cookie, session.id, httponly=True, samesite="strict", path="/")
        return answer

    def _described(self, opened: Opened) -> dict:
        return {"id": opened.id, "name": opened.name, "truth": catalogue.truth(self.store, opened.row)}

    async def images(self, request: Request) -> Response:
        session = self._session(request)
        return JSONResponse([self._described(o) for o in session.images.values()] if session else [])

    async def forget(self, request: Request) -> Response:
        opened = self._opened(request)
        opened.close()
        del self._session(request).images[opened.id]
        return JSONResponse({})

    async def end_session(self, request: Request) -> Response:
        session = self._session(request)
        if session:
            self.sessions.end(session.id)
        answer = JSONResponse({})
        answer.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")
        return answer

    async def pixels(self, request: Request) -> Response:
        return binary(self._opened(request).image)

    async def finding(self, request: Request) -> Response:
        return JSONResponse((await self._finding(request)).said)

    async def finding_map(self, request: Request) -> Response:
        found = await self._finding(request)
        if found.map is None:
            raise HTTPException(404, f"a {self.model.name} has no explanation of its own")
        return binary(found.map)

    async def _finding(self, request: Request):
        """Waits for the model."""
        future = self._opened(request).findings[self._index(request)]
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError as error:
            if future.cancelled():  # the image was forgotten meanwhile; else it is the request that is cancelled
                raise not_here() from error
            raise

    async def mask(self, request: Request) -> Response:
        opened = self._opened(request)
        mask = None if opened.row is None else self.store.mask(opened.row, self._index(request))
        if mask is None:
            raise HTTPException(404, "no annotation of this finding on this image")
        return binary(mask, np.uint8)

    async def job(self, request: Request) -> Response:
        """POST starts one (or says where it stands), GET says where it stands, DELETE stops it."""
        opened, finding, key = self._opened(request), self._index(request), request.path_params["key"]
        job = opened.jobs.get((key, finding))
        if request.method == "POST" and (job is None or job.state in ("failed", "cancelled")):
            job = self._start(self._session(request), opened, key, finding)
        if job is None:
            raise not_here()
        if request.method == "DELETE":
            job.cancel()
        return JSONResponse(job.report())

    def _start(self, session: Session, opened: Opened, key: str, finding: int) -> Job:
        choice = next((c for c in choices(self.model) if c.key == key), None)
        if choice is None:
            raise HTTPException(404, f"no explainer {key[:40]!r} for a {self.model.name}")
        if session.busy_jobs() >= self.limits.jobs:
            raise Busy(f"{self.limits.jobs} explanations are being computed for you already; stop one or wait")
        job = Job(choice.passes)
        model, worker = (self.spare, self.comparing) if choice.slow else (self.model, self.predicting)
        explain = partial(attribute, model, key, opened.image, finding)
        worker.submit(session.busy_jobs(), partial(run_job, job, lambda tick: explain(tick)))
        opened.jobs[key, finding] = job
        return job

    async def job_map(self, request: Request) -> Response:
        job = self._opened(request).jobs.get((request.path_params["key"], self._index(request)))
        if job is None or job.map is None:
            raise not_here()
        return binary(job.map)

    def _session(self, request: Request) -> Session | None:
        return self.sessions.find(request.cookies.get(self.cookie))

    def _opened(self, request: Request) -> Opened:
        session = self._session(request)
        opened = session and session.images.get(request.path_params["image"])
        if not opened:
            raise not_here()
        return opened

    def _index(self, request: Request) -> int:
        if request.path_params["finding"] >= len(self.model.findings):
            raise not_here()
        return request.path_params["finding"]


def run_job(job: Job, explain) -> None:
    try:
        job.run(explain)
    except Exception:
        log.exception("an explainer failed")
