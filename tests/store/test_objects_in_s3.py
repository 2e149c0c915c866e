"""The same store in S3's own protocol, spoken by a server that keeps its objects in a dict."""

import polars as pl
import pytest

from loopline.errors import AlreadyExistsError, StoreError
from loopline.store.objects import Objects
from loopline.store.tables import Tables


def test_bytes_are_kept_below_the_urls_prefix(bucket):
    objects = Objects("s3://models/team/churn")

    objects.put("bundles/1/plan.bin", b"plan")

    assert bucket == {"team/churn/bundles/1/plan.bin": b"plan"}
    assert objects.get("bundles/1/plan.bin") == b"plan"
    assert objects.find("bundles/2/plan.bin") is None
    assert objects.list("bundles") == ["bundles/1/plan.bin"]
    assert objects.uri("bundles/1") == "s3://models/team/churn/bundles/1"
    objects.delete("bundles/1/plan.bin")
    objects.delete("bundles/1/plan.bin")
    assert objects.list() == []


def test_create_is_conditional_there_too(bucket):
    objects = Objects("s3://models/team")
    objects.create("releases/churn/dev/1.json", b"first")

    with pytest.raises(AlreadyExistsError, match="left as it is"):
        objects.create("releases/churn/dev/1.json", b"second")

    assert objects.get("releases/churn/dev/1.json") == b"first"


def test_wrong_credentials_are_one_clear_message(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")

    with pytest.raises(StoreError, match=r"Could not read a from s3://models/team"):
        Objects("s3://models/team").get("a")


def test_delta_tables_are_written_and_read_there(bucket):
    tables = Tables(Objects("s3://models/team"))

    tables.write("log", pl.DataFrame({"x": [1, 2]}), transaction=("fold", 1))
    tables.write("log", pl.DataFrame({"x": [3]}), transaction=("fold", 1))
    tables.write("log", pl.DataFrame({"x": [4]}), transaction=("fold", 2))

    assert sorted(tables.read("log")["x"]) == [1, 2, 4]
    assert tables.transaction("fold", "log") == 2
    assert any(key.startswith("team/log/_delta_log/") for key in bucket)
