"""The process that unpickles: verifies one bundle, loads its original, answers until told to end.

Started by `runtimes/original.py`; reads length-framed requests from standard input. It ends when
that closes, so it never outlives the server.
"""

import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from loopline.errors import LooplineError
from loopline.governance.signing import Keys
from loopline.model.bundle import open_bundle
from loopline.model.original import Original
from loopline.model.runtimes.wire import pack, unpack
from loopline.store.objects import Objects


class _Wanted(msgspec.Struct):
    home: str
    store: str
    prefix: str
    digest: str


def load_original(objects: Objects, keys: Keys, prefix: str, digest: str) -> Original:
    """Return the original of a bundle, verified before it is unpickled.

    Raises:
        BundleRefusedError: it is not what was registered, or a stranger signed it.
    """
    import cloudpickle

    bundle = open_bundle(objects, keys, prefix, digest)
    takes, estimator = cloudpickle.loads(bundle.file("original.pkl"))
    return Original(estimator, takes, bundle.signature)


def dump_original(original: Original) -> bytes:
    """Return what `load_original` reads; the team's own classes travel with it."""
    import cloudpickle

    content: bytes = cloudpickle.dumps((original.takes, original.estimator))
    return content


def main(argument: str) -> None:
    """Answer requests until standard input closes."""
    # Ctrl-C reaches the whole process group, and the server still has requests to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the model prints must not reach the pipe that carries the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    wanted = msgspec.json.decode(argument, type=_Wanted)
    try:
        original = load_original(
            Objects(wanted.store), Keys(Path(wanted.home)), wanted.prefix, wanted.digest
        )
    except LooplineError as error:
        _answer(answers, "refused", str(error))
        return
    _answer(answers, "ready", None)
    requests = sys.stdin.buffer
    while len(head := requests.read(8)) == 8:
        message = requests.read(*struct.unpack("<Q", head))
        try:
            scores = original.scores(unpack(message))
        except Exception as error:  # noqa: BLE001 - the team's estimator may raise anything
            first = str(error).split("\n", 1)[0]
            _answer(answers, "error", f"{type(error).__name__}: {first}"[:300])
        else:
            _answer(answers, "scores", pack({"scores": np.asarray(scores)}))


def _answer(answers: BinaryIO, status: str, content: Any) -> None:
    message = msgspec.msgpack.encode([status, content])
    answers.write(struct.pack("<Q", len(message)) + message)
    answers.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BrokenPipeError:  # the server ended meanwhile: nobody is left to hear
        os._exit(0)
