"""The Open Inference Protocol's messages, from the protocol's own definition.

`open_inference_grpc.proto` is KServe's (kserve/open-inference-protocol at d49cc23, Apache-2.0), and
`open_inference_grpc.binpb` is what `protoc --descriptor_set_out` makes of it. The classes are made
from that in a pool of their own: Triton's client has messages of the same names, and in the one
pool of generated code a process that uses both would not start.
"""

from functools import lru_cache
from importlib import resources
from typing import Any

from loopline.extras import require

SERVICE = "inference.GRPCInferenceService"


@lru_cache(maxsize=1)
def messages() -> dict[str, Any]:
    """Return the classes by name, such as `ModelInferRequest`.

    Raises:
        MissingExtraError: protobuf is not installed.
    """
    pool = require("google.protobuf.descriptor_pool", extra="grpc").DescriptorPool()
    files = require("google.protobuf.descriptor_pb2", extra="grpc").FileDescriptorSet()
    make = require("google.protobuf.message_factory", extra="grpc").GetMessageClass
    compiled = resources.files("loopline.serving") / "open_inference_grpc.binpb"
    files.ParseFromString(compiled.read_bytes())
    [file] = files.file
    pool.Add(file)
    named = {message.name: message for message in file.message_type}
    return {name: make(pool.FindMessageTypeByName(f"inference.{name}")) for name in named}
