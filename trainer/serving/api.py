"""What OpenAPI is told of `POST /predict`, which reads and writes by itself."""

from typing import Any

from pydantic import BaseModel, Field

from trainer.serving.uploads import FIELD


class ClassProbability(BaseModel):
    """A class of a photograph."""

    name: str = Field(alias="class")
    probability: float


class Answer(BaseModel):
    """What is said of a photograph."""

    image: str
    answer: str | None = Field(None, description="Only with --reject_below.")
    predictions: list[ClassProbability] = Field(description="Best first.")


class Refused(BaseModel):
    """A photograph that is to blame."""

    image: str
    reason: str


class Problem(BaseModel):
    """Why a request gets no predictions."""

    detail: str
    images: list[Refused]


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _FILES}}
_JSON = {
    "type": "object",
    "properties": {"images": {"type": "array", "items": _BASE64}, "image": _BASE64},
}
_PROBLEMS = {
    400: "The form or the JSON is not as it should be.",
    408: "The request took too long to arrive.",
    413: "The request, one of its files, or their number is too large.",
    415: "Neither a form nor JSON.",
    422: "Not all of them are photographs; none is predicted then.",
    503: "Too many photographs are waiting; Retry-After says when to come again.",
}

PREDICT: dict[str, Any] = {
    "summary": "Says which animals are on photographs.",
    "response_model": list[Answer],
    "responses": {code: {"model": Problem, "description": x} for code, x in _PROBLEMS.items()},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _FORM},
                "application/json": {"schema": _JSON},
            },
        }
    },
}
