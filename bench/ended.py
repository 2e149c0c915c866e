"""How a benchmark ends: with its exit code, whether it is done, failed or stopped."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from bench.load import BenchError


def ended(measure: Callable[[], int]) -> int:
    """Run `measure`; return its exit code, 1 where it failed, 130 where somebody stopped it."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        return measure()
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    except BenchError as error:
        say(str(error))
        return 1


def say(text: str) -> None:
    """Tell whoever waits, beside what is measured."""
    print(text, file=sys.stderr, flush=True)


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt
