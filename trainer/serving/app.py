"""The routes: a page for people, two for programs, health and figures for operators."""

import base64
import hashlib
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

import cli
from cli import page
from trainer.inference import answers
from trainer.results.predictions import Prediction
from trainer.serving import uploads
from trainer.serving.api import CLASS, EXPLAIN, EXPLAINED_CLASS, EXPLAINED_HEAT, PREDICT, Png
from trainer.serving.metrics import CONTENT_TYPE
from trainer.serving.middleware import Observed, WithHeaders
from trainer.serving.places import Held
from trainer.serving.refusal import RefusalError
from trainer.serving.service import Explained, Service

_PATHS = ("/", "/predict", "/explain", "/healthz", "/metrics", "/openapi.json")
_SAFE = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Shown(NamedTuple):
    """What is said, and of which run.

    Attributes:
        workdir: Holds the run.
        top_k: How many classes are named.
        reject_below: Where the best class is less probable, it is none of these; None: never.
    """

    workdir: str
    top_k: int
    reject_below: float | None


def create(service: Service, shown: Shown) -> FastAPI:
    """Returns the app of a service that is warm.

    Nothing of it is fetched from elsewhere: FastAPI's own pages on its API would be.
    """
    html = _page(service, shown)
    app = FastAPI(
        title="Which animal", version=cli.__version__,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": _policy(html)})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(status_code=204)  # Browsers ask for it, whatever the page says.

    @app.post("/predict", **PREDICT)
    async def predict(request: Request) -> JSONResponse:
        predictions = await _predict(request, service)
        return JSONResponse([_answer(each, service, shown) for each in predictions])

    @app.post("/explain", **EXPLAIN)
    async def explain(request: Request) -> Png:
        explained = await _explain(request, service)
        return Png(
            explained.png,
            headers={
                EXPLAINED_CLASS: urllib.parse.quote(explained.class_name),
                EXPLAINED_HEAT: "none" if explained.is_cold else "some",
            },
        )

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether photographs are answered.")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", summary="Figures for Prometheus.", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    app.add_exception_handler(RefusalError, _refuse)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(Observed, metrics=service.metrics, paths=_PATHS)
    app.add_middleware(WithHeaders, headers=_SAFE)
    return app


async def _predict(request: Request, service: Service) -> list[Prediction]:
    """Returns the predictions on a request's photographs, which have their places meanwhile."""
    with Held(service.places) as held:
        arriving = uploads.receive(request, service.bounds, lambda n: held.take(num_bytes=n))
        async with arriving as (photographs, _):
            held.take(photographs=len(photographs) - 1)
            return await service.predict(photographs)


async def _explain(request: Request, service: Service) -> Explained:
    """Returns the explanation of a request's photograph, which has its place meanwhile."""
    bounds = service.bounds._replace(images=1)
    with Held(service.places) as held:
        arriving = uploads.receive(request, bounds, lambda n: held.take(num_bytes=n), CLASS)
        async with arriving as ([photograph], class_name):
            return await service.explain(photograph, class_name)


def _answer(prediction: Prediction, service: Service, shown: Shown) -> dict[str, Any]:
    top = prediction.top(shown.top_k)
    below = shown.reject_below
    rejected = None if below is None else top[0][1] < below
    return answers.answer(prediction.name, top, service.classes, rejected)


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusalError)
    return _problem(error.status, str(error), error.images, **error.headers)


async def _fail(*_: Any) -> JSONResponse:
    """Says nothing of what went wrong but in the log, where uvicorn writes it."""
    return _problem(500, "The server failed. Its log says why.", (), **_SAFE)


def _problem(code: int, detail: str, images: Sequence[Any], **headers: str) -> JSONResponse:
    content = {"detail": detail, "images": [each._asdict() for each in images]}
    return JSONResponse(content, code, headers)


def _page(service: Service, shown: Shown) -> str:
    return page.render(
        "trainer",
        "serve.html",
        run=Path(shown.workdir).resolve().name,
        classes=service.classes,
        field=uploads.FIELD,
        max_bytes=service.bounds.file_bytes,
    )


def _policy(html: str) -> str:
    """Returns what the page may do: run its own script, in its own style, and ask this server."""
    allowed = {
        "default-src": "'none'",
        "script-src": _digests("script", html),
        "style-src": _digests("style", html),
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{what} {where}" for what, where in allowed.items())


def _digests(element: str, html: str) -> str:
    found = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in found)
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
