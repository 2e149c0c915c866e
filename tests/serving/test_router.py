"""The server follows releases, and nothing broken reaches a caller."""

import asyncio
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from loopline.errors import BundleRefusedError, ReleaseError, UnknownVersionError
from loopline.governance.signing import Keys
from loopline.registry import release
from loopline.serving import router as routing
from loopline.serving.metrics import Metrics

PROJECT = "flight-delays"


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def router(workspace, late, metrics):
    workspace.release(workspace.bundle(late, 1))
    router = workspace.router(metrics)
    yield router
    router.close()


def _store(workspace):
    return workspace.settings.home / "store"


def test_without_a_release_there_is_nothing_to_follow(workspace):
    with pytest.raises(ReleaseError):
        workspace.router()


def test_a_new_release_is_followed_and_the_old_model_let_go(workspace, router, late, origin):
    assert [model.name for model in router.models] == ["flight-delays:1"]

    workspace.release(workspace.bundle(origin, 2))
    router.look()

    assert [model.version for model in router.models] == [2]
    assert router.release.number == 2
    with pytest.raises(UnknownVersionError, match=r"Version 1 does not answer here. Versions: 2\."):
        router.named(1)


def test_the_thread_follows_within_a_second(workspace, router, origin):
    router.follow()
    bundle = workspace.bundle(origin, 2)
    workspace.release(bundle)

    deadline = time.monotonic() + 5
    while router.release.number == 1 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert router.release.number == 2


def test_a_rollback_is_a_release_like_any_other(workspace, router, origin, monkeypatch):
    monkeypatch.setattr(routing, "_KEEP_SECONDS", 0.0)
    first = router.models[0]
    served = workspace.objects.get(f"releases/{PROJECT}/dev/1.json")
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]
    workspace.release(workspace.bundle(origin, 2))
    router.look()
    router.look()  # which lets the first one go

    workspace.release(old)
    router.look()

    assert [model.version for model in router.models] == [1]
    assert router.models[0] is not first
    assert served == workspace.objects.get(f"releases/{PROJECT}/dev/1.json")


def test_a_rollback_within_minutes_needs_nothing_of_the_bundle(workspace, router, origin):
    first = router.models[0]
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]
    workspace.release(workspace.bundle(origin, 2))
    router.look()
    router.look()
    workspace.objects.delete(f"{old.bundle}/plan.bin")

    workspace.release(old)
    router.look()

    assert router.models == (first,)
    assert router.release.number == 3


def test_an_original_that_answers_no_more_ends_though_a_plan_stays(workspace, router, late, origin):
    workspace.release(workspace.bundle(late, 2, with_plan=False))
    router.look()
    [original] = router.models
    workspace.release(workspace.bundle(origin, 3))
    router.look()
    original.in_flight = 1
    router.look()
    assert original in router._retired

    original.in_flight = 0
    router.look()

    assert [model.version for model in router._retired] == [1]


def test_a_version_that_stays_is_not_loaded_again(workspace, router, origin):
    kept = router.models[0]
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]

    workspace.release(replace(old, share=0.5), replace(workspace.bundle(origin, 2), share=0.5))
    router.look()

    assert router.models[0] is kept
    assert [model.version for model in router.models] == [1, 2]


def test_shares_are_kept_and_a_key_stays_with_its_model(workspace, router, origin):
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]
    workspace.release(replace(old, share=0.9), replace(workspace.bundle(origin, 2), share=0.1))
    router.look()

    chosen = [router.choose(f"key-{number}").version for number in range(4000)]

    assert chosen == [router.choose(f"key-{number}").version for number in range(4000)]
    assert chosen.count(2) == pytest.approx(400, abs=80)


def test_a_shadow_gets_no_traffic(workspace, router, origin):
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]

    workspace.release(old, replace(workspace.bundle(origin, 2), shadow=True, share=0.0))
    router.look()

    assert [model.version for model in router.models] == [1]
    assert [model.version for model in router.shadows] == [2]
    with pytest.raises(UnknownVersionError):
        router.named(2)


def test_a_wider_canary_takes_callers_and_gives_none_back(workspace, router, origin):
    old = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]
    new, keys = workspace.bundle(origin, 2), [f"key-{number}" for number in range(2000)]

    def callers(share):
        workspace.release(replace(old, share=1 - share), replace(new, share=share, arm="bold"))
        router.look()
        return {key for key in keys if router.choose(key).version == 2}

    few, half = callers(0.05), callers(0.5)

    assert few < half
    assert len(half) == pytest.approx(1000, abs=120)
    assert (router.arm(1), router.arm(2)) == ("", "bold")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 100_000, b"\x80\x04K\x01.", b'{"release":1}']
)
def test_a_document_that_is_none_changes_nothing(workspace, router, metrics, caplog, content):
    workspace.objects.put(f"releases/{PROJECT}/dev/2.json", content)

    for _ in range(3):
        router.look()

    assert router.release.number == 1
    assert metrics.releases_refused == 1
    assert "The release stays as it is" in caplog.text


def test_a_strangers_release_changes_nothing(workspace, router, origin, tmp_path, metrics):
    stranger = Keys(tmp_path / "elsewhere")

    workspace.release(workspace.bundle(origin, 2), keys=stranger)
    router.look()

    assert router.release.number == 1
    assert metrics.releases_refused == 1


def test_an_edited_release_changes_nothing(workspace, router, origin):
    workspace.release(workspace.bundle(origin, 2))
    key = f"releases/{PROJECT}/dev/2.json"
    document = workspace.objects.get(key)
    workspace.objects.put(key, document.replace(b'"version":2', b'"version":7'))

    router.look()

    assert router.release.number == 1


def test_a_good_release_after_a_broken_one_is_followed(workspace, router, origin, metrics):
    workspace.objects.put(f"releases/{PROJECT}/dev/2.json", b"broken")
    router.look()
    workspace.number = 2
    workspace.release(workspace.bundle(origin, 2))

    router.look()

    assert router.release.number == 3
    assert metrics.releases_refused == 1


@pytest.mark.parametrize("name", ["plan.bin", "plan.json", "signature.json", "manifest.json"])
def test_one_changed_byte_in_a_bundle_keeps_the_old_model(workspace, router, origin, metrics, name):
    served = workspace.bundle(origin, 2)
    file = _store(workspace) / served.bundle / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    workspace.release(served)

    for _ in range(3):
        router.look()

    assert [model.version for model in router.models] == [1]
    assert metrics.releases_refused == 1


def test_a_changed_bundle_stops_a_server_from_starting(workspace, late):
    served = workspace.bundle(late, 1)
    (_store(workspace) / served.bundle / "plan.bin").write_bytes(b"")
    workspace.release(served)

    with pytest.raises(BundleRefusedError, match="not what was signed"):
        workspace.router()


def test_a_release_without_a_share_changes_nothing(workspace, router, late):
    served = workspace.bundle(late, 2)

    workspace.release(replace(served, share=0.0))
    router.look()

    assert router.release.number == 1


def test_no_request_is_lost_or_mixed_up_while_releases_change(serve, workspace, late, tensors):
    client = serve(late)
    shifted = replace(late.signature, threshold=0.9)
    other = workspace.bundle(replace(late, original=late.original.signed(shifted)), 4)
    served = release.read(workspace.objects, workspace.keys, PROJECT, "dev", 1).serves[0]
    expected = late.original.scores(late.columns)[:1]
    body = json.dumps({"inputs": tensors(late, late.records[:1])}).encode()
    client.path.router.follow()

    versions = []
    for turn in range(4):
        document = workspace.release(other if turn % 2 == 0 else served)
        deadline = time.monotonic() + 5
        while client.path.router.release.number < document.number and time.monotonic() < deadline:
            answer = client.post("/v2/models/flight-delays/infer", body)
            assert answer.status == 200
            label, probability = answer.json["outputs"]
            np.testing.assert_allclose(probability["data"], expected, atol=1e-12)
            threshold = {"3": 0.23, "4": 0.9}[answer.json["model_version"]]
            assert label["data"] == ["true" if expected[0] >= threshold else "false"]
            versions.append(answer.json["model_version"])
            client.runner.run(asyncio.sleep(0.005))

    assert set(versions) == {"3", "4"}
