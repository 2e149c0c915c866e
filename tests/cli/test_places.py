"""`--on`: threads, Spark as it is, or the master of a cluster."""

import click
import pytest

from loopline.cli.places import Place, compute_on
from loopline.compute.spark import Spark
from loopline.compute.threads import Threads
from loopline.errors import SettingError


@pytest.mark.parametrize(
    "place",
    ["threads", "spark", "spark://10.0.0.5:7077", "k8s://https://10.0.0.5:6443", "yarn",
     "local[2]"],
)  # fmt: skip
def test_a_place_is_taken_as_it_is(place):
    assert Place().convert(place, None, None) == place


@pytest.mark.parametrize("place", ["sparks", "http://10.0.0.5", "spark://", "local[two]", ""])
def test_what_is_no_place_is_refused_with_what_would_be_one(place):
    with pytest.raises(click.BadParameter, match=r"such as spark://10\.0\.0\.5:7077"):
        Place().convert(place, None, None)


def test_threads_are_counted_and_spark_is_not():
    found = compute_on("threads", 3)

    assert isinstance(found, Threads)
    assert found.count == 3
    assert isinstance(compute_on("local"), Threads)  # as the contract has it
    with pytest.raises(click.UsageError, match="--threads is for threads"):
        compute_on("spark", 3)


def test_a_session_that_is_there_is_not_another_cluster_s(spark):
    assert Spark(master=spark.session.sparkContext.master).session is spark.session
    with pytest.raises(SettingError, match=r"runs on local.*, and spark://10\.0\.0\.5:7077 was"):
        Spark(master="spark://10.0.0.5:7077")
