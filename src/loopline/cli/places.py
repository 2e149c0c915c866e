"""Where a command's data work runs: `--on threads`, `spark`, or the URL of a Spark master."""

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from loopline.compute.base import Compute

_MASTER = re.compile(r"(spark|k8s)://\S+|yarn|local(\[[0-9*]+(,[0-9]+)?\])?")


class Place(click.ParamType):  # type: ignore[type-arg]
    """threads, spark, or the URL of a Spark master."""

    name = "threads|spark|spark://HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the place, or refuse what is none."""
        if value not in {"threads", "spark"} and not _MASTER.fullmatch(str(value)):
            self.fail(
                f"{value!r} is no place to run. Write threads, spark, or the URL of Spark's "
                "master, such as spark://10.0.0.5:7077.",
                param,
                ctx,
            )
        return str(value)


def compute_on(place: str, threads: int | None = None) -> "Compute":
    """Return what runs work at a place.

    Raises:
        click.UsageError: Spark is given a number of threads.
    """
    if place not in {"threads", "local"}:
        if threads is not None:
            raise click.UsageError("--threads is for threads; Spark's session says how wide it is.")
        from loopline.compute.spark import Spark

        return Spark(master=None if place == "spark" else place)
    from loopline.compute.threads import Threads

    return Threads(threads)
