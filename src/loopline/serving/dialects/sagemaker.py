"""SageMaker: what its endpoints, batch transform and multi-model endpoints call.

`/ping` and `/invocations` are spoken by others here. A server of one project serves what its
release names, so with `MMS=1` its models are the versions of the release: one that SageMaker
unpacks under `/opt/ml/models` is taken when it is among them, byte for byte, and refused otherwise.
"""

import hashlib
import re
from pathlib import Path

import msgspec

from loopline.errors import RequestError
from loopline.serving.reading import RefusedError
from loopline.serving.routes import Host, Reply, Request, Route

__all__ = ["SageMaker"]

_MODELS = Path("/opt/ml/models")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,255}")
_AT_ONCE, _MIB_EACH = 8, 6  # SageMaker takes no more than 100 MiB under way

_encode = msgspec.json.Encoder().encode


class _Load(msgspec.Struct):
    model_name: str
    url: str


_decode = msgspec.json.Decoder(_Load).decode


async def _parameters(host: Host, request: Request) -> Reply:
    said = {
        "MaxConcurrentTransforms": _AT_ONCE,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": _MIB_EACH,
    }
    return Reply(200, _encode(said))


async def _models(host: Host, request: Request) -> Reply:
    return Reply(200, _encode({"models": [_model(name) for name in sorted(host.named)]}))


async def _one(host: Host, request: Request) -> Reply:
    _version(host, request.name or "")
    return Reply(200, _encode(_model(request.name or "")))


async def _load(host: Host, request: Request) -> Reply:
    try:
        asked = _decode(request.body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"This is no model to load: {error!s:.300}.") from None
    name = asked.model_name
    if not _NAME.fullmatch(name) or asked.url.rstrip("/") != str(_MODELS / name / "model"):
        raise RequestError(f"A model is loaded from {_MODELS}/NAME/model, NAME being its name.")
    if name in host.named:
        raise RefusedError(409, f"The model '{name}' is loaded already.")
    try:
        manifest = (_MODELS / name / "model" / "manifest.json").read_bytes()
    except OSError:
        raise RequestError(f"There is no bundle in {asked.url:.300}.") from None
    digest = hashlib.sha256(manifest).hexdigest()
    found = [model for model in host.path.router.models if model.bundle_digest == digest]
    if not found:
        raise RequestError(
            f"The model '{name}' is no version that the release names. Give it a share of the "
            "traffic first; what serves is decided by the release alone."
        )
    host.named[name] = found[0].version
    return Reply(200, _encode(_model(name)))


async def _unload(host: Host, request: Request) -> Reply:
    _version(host, request.name or "")
    del host.named[request.name or ""]
    return Reply(200, b"{}")


def _version(host: Host, name: str) -> int:
    if name not in host.named:
        raise RefusedError(404, f"The model '{name:.60}' is not loaded.")
    return host.named[name]


def _model(name: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": str(_MODELS / name / "model")}


class SageMaker:
    """Where SageMaker calls."""

    carries = b"x-amzn-sagemaker-custom-attributes"
    routes = (
        Route(
            "GET",
            "/execution-parameters",
            "health",
            "How batch transform may send",
            _parameters,
        ),
        Route("GET", "/models", "predict", "The models that are loaded", _models, only_if="MMS"),
        Route(
            "POST",
            "/models",
            "admin",
            "Load a version of the release",
            _load,
            takes=("application/json", ""),
            example=lambda signature: {"model_name": "mine", "url": f"{_MODELS}/mine/model"},
            only_if="MMS",
        ),
        Route("GET", "/models/{name}", "predict", "Whether it is loaded", _one, only_if="MMS"),
        Route("DELETE", "/models/{name}", "admin", "Unload a model", _unload, only_if="MMS"),
        Route(
            "POST",
            "/models/{name}/invoke",
            "predict",
            "Predict",
            same_as="/invocations",
            version_of=_version,
            only_if="MMS",
        ),
    )
