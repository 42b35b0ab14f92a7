"""What OpenAPI is told of the routes that take photographs, which read and write by themselves."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from trainer.inference.overlay import LONGEST_SIDE
from trainer.serving.uploads import FIELD

CLASS = "class"
EXPLAINED_CLASS = "Explained-Class"
EXPLAINED_HEAT = "Explained-Heat"


class Png(Response):
    """A picture."""

    media_type = "image/png"


class ClassProbability(BaseModel):
    """A class of a photograph."""

    name: str = Field(alias="class")
    probability: float


class Answer(BaseModel):
    """What is said of a photograph."""

    image: str
    answer: str | None = Field(None, description="Only with --reject_below.")
    rejected: bool | None = Field(None, description="Only with --reject_below.")
    predictions: list[ClassProbability] = Field(description="Best first.")


class Refused(BaseModel):
    """A photograph that is to blame."""

    image: str
    reason: str


class Problem(BaseModel):
    """Why a request is not answered as it wishes."""

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


def _responses(described: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem, "description": x} for code, x in described.items()}


def _body(form: dict[str, Any], as_json: dict[str, Any]) -> dict[str, Any]:
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": as_json}}
    return {"required": True, "content": content}


_ONE_FORM = {
    "type": "object",
    "required": [FIELD],
    "properties": {FIELD: {"type": "string", "format": "binary"}, CLASS: {"type": "string"}},
}
_ONE_JSON = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": _BASE64, CLASS: {"type": "string"}},
}
_HEADERS = {
    EXPLAINED_CLASS: "The class that it is explained for, percent-encoded.",
    EXPLAINED_HEAT: "`some`, or `none` where nothing on it speaks for the class.",
}

PREDICT: dict[str, Any] = {
    "summary": "Says which animals are on photographs.",
    "response_model": list[Answer],
    "responses": _responses(_PROBLEMS),
    "openapi_extra": {"requestBody": _body(_FORM, _JSON)},
}
EXPLAIN: dict[str, Any] = {
    "summary": "Lights a photograph where the model saw what speaks for a class.",
    "description": f"The class is that of the field `{CLASS}`, or the most probable one.",
    "response_class": Png,
    "responses": {
        200: {
            "description": f"A PNG, {LONGEST_SIDE} pixels wide and high at most.",
            "headers": {
                name: {"description": what, "schema": {"type": "string"}}
                for name, what in _HEADERS.items()
            },
        },
        **_responses(_PROBLEMS),
        400: {"model": Problem, "description": "There is no such class, or the form is wrong."},
    },
    "openapi_extra": {
        "requestBody": _body(_ONE_FORM, _ONE_JSON),
        "parameters": [{"name": CLASS, "in": "query", "schema": {"type": "string"}}],
    },
}
