# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Web application of a reader study.

Each link holds a random token that identifies one reader. There is no listing, no way back to an answered image, and no
access to an image other than the reader's next. Every page forbids the browser to load anything from another server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path as PathParameter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from monai_advenc.errors import OutputError
from monai_advenc.reader_study.serving.reading_desk import ReadingDesk
from monai_advenc.reader_study.study import StudyReader

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}

LARGEST_BODY = 64 * 1024

_STATIC = {
    "reading.js": "text/javascript",
    "viewer.js": "text/javascript",
    "reading.css": "text/css",
    "icon.svg": "image/svg+xml",
}

Token = Annotated[str, PathParameter(max_length=100)]


class SentAnswer(BaseModel):
    """An answer as the page sends it; a repeated ``answer_id`` marks a repeated answer."""

    model_config = ConfigDict(extra="forbid")

    answer_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    reading: str = Field(max_length=64)
    answers: dict[str, StrictStr | StrictInt | None]
    seconds: float = Field(ge=0, le=1e7)


class SentPause(BaseModel):
    """Whether the reader pauses or goes on."""

    model_config = ConfigDict(extra="forbid")

    paused: bool


@cache
def _page(name: str) -> str:
    return files("monai_advenc.reader_study").joinpath("pages", name).read_text(encoding="utf-8")


def create_app(desk: ReadingDesk) -> FastAPI:
    """Create the application that serves one study."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_protection(app)
    _add_refusals(app)
    _add_pages(app, desk)
    _add_readings(app, desk)
    return app


def _add_protection(app: FastAPI) -> None:
    """Add the security headers to every response, errors included, and reject bodies that are too long."""

    @app.middleware("http")
    async def protect(request: Request, respond: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        known = length.isdecimal() and "transfer-encoding" not in request.headers
        short = known and int(length) <= LARGEST_BODY
        response = await respond(request) if short else Response("too long", status_code=413)
        response.headers.update(SECURITY_HEADERS)
        return response


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own response repeats the input.
        return JSONResponse({"detail": "the page sent an invalid request; reload it"}, status_code=422)

    @app.exception_handler(OutputError)
    async def not_stored(request: Request, error: OutputError) -> JSONResponse:
        # The page retries until the answer can be written.
        return JSONResponse({"detail": "the server cannot store answers now"}, status_code=503)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # This response does not pass through the middleware that adds the headers.
        return JSONResponse({"detail": "the server failed"}, status_code=500, headers=SECURITY_HEADERS)


def _add_pages(app: FastAPI, desk: ReadingDesk) -> None:
    @app.get("/r/{token}")
    def page(token: Token) -> HTMLResponse:
        if desk.study.reader_of(token) is None:
            return HTMLResponse(_page("no_reader.html"), status_code=404)
        return HTMLResponse(_page("reading.html"))

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404, "there is no such page")
        return Response(_page(name), media_type=_STATIC[name])


def _add_readings(app: FastAPI, desk: ReadingDesk) -> None:
    def reader_of(token: str) -> StudyReader:
        reader = desk.study.reader_of(token)
        if reader is None:
            raise HTTPException(404, "this link belongs to no reader of this study")
        return reader

    @app.get("/r/{token}/state")
    def state(token: Token) -> dict[str, Any]:
        return desk.state(reader_of(token))

    @app.get("/r/{token}/image/{reading}/{index}")
    def image(token: Token, reading: str, index: int) -> Response:
        return Response(desk.image(reader_of(token), reading, index), media_type="application/octet-stream")

    @app.get("/r/{token}/practice/{index}")
    def practice(token: Token, index: int) -> Response:
        reader_of(token)
        return Response(desk.practice(index), media_type="application/octet-stream")

    @app.post("/r/{token}/answer")
    def answer(token: Token, sent: SentAnswer) -> dict[str, Any]:
        reader = reader_of(token)
        desk.answer(reader, sent.reading, sent.answer_id, sent.answers, sent.seconds)
        return desk.state(reader)

    @app.post("/r/{token}/pause")
    def pause(token: Token, sent: SentPause) -> dict[str, Any]:
        reader = reader_of(token)
        desk.pause(reader, sent.paused)
        return desk.state(reader)
