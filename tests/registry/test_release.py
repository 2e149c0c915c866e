"""Release documents: numbered, created once, and believed only with a trusted signature."""

import shutil
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from loopline.errors import AlreadyExistsError, ReleaseError
from loopline.governance.signing import Keys
from loopline.registry.release import Release, Served, latest, numbers, read, write
from loopline.store.objects import Objects

FIRST = Release(
    project="churn",
    environment="production",
    number=1,
    serves=(
        Served(1, "bundles/churn/1", "a" * 64, share=0.2),
        Served(2, "bundles/churn/2", "b" * 64, share=0.8),
        Served(3, "bundles/churn/3", "c" * 64, shadow=True),
    ),
    by="ada",
    why="first",
    at="2013-04-01T12:30:00Z",
)
KEY = "releases/churn/production/1.json"


@pytest.fixture
def objects(tmp_path) -> Objects:
    return Objects((tmp_path / "store").as_uri())


@pytest.fixture
def keys(tmp_path) -> Keys:
    return Keys(tmp_path / "home")


def test_what_is_written_is_read_back_by_someone_who_has_only_the_public_key(
    objects, keys, tmp_path
):
    write(objects, keys, FIRST)
    elsewhere = tmp_path / "server"
    (elsewhere / "keys").mkdir(parents=True)
    shutil.copytree(keys.trusted, elsewhere / "keys" / "trusted")

    assert latest(objects, Keys(elsewhere), "churn", "production") == FIRST
    assert not (elsewhere / "keys" / "signing.pem").exists()


def test_the_version_of_a_release_is_the_one_that_answers_most_callers():
    assert FIRST.version == 2


def test_a_number_is_written_once(objects, keys):
    write(objects, keys, FIRST)

    with pytest.raises(AlreadyExistsError):
        write(objects, keys, replace(FIRST, why="second thoughts"))

    assert latest(objects, keys, "churn", "production") == FIRST


def test_the_highest_number_holds_and_only_what_is_new_is_told(objects, keys):
    releases = [write(objects, keys, replace(FIRST, number=number)) for number in range(1, 12)]

    assert latest(objects, keys, "churn", "production") == releases[10]
    assert latest(objects, keys, "churn", "production", after=9) == releases[10]
    assert latest(objects, keys, "churn", "production", after=11) is None
    assert latest(objects, keys, "churn", "staging") is None
    assert numbers(objects, "churn", "production") == list(range(1, 12))


def test_a_changed_byte_is_refused(objects, keys):
    write(objects, keys, FIRST)
    document = objects.get(KEY)

    for position in range(0, len(document), 7):
        changed = bytearray(document)
        changed[position] ^= 1
        objects.put(KEY, bytes(changed))
        with pytest.raises(ReleaseError, match="Release 1 of churn in production"):
            latest(objects, keys, "churn", "production")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"release":{}}', b"\x80\x04K."])
def test_what_is_no_document_is_refused(objects, keys, content):
    objects.put(KEY, content)

    with pytest.raises(ReleaseError, match="is not a release document"):
        latest(objects, keys, "churn", "production")


def test_a_strangers_signature_is_refused(objects, keys, tmp_path):
    keys.sign(b"")
    write(objects, Keys(tmp_path / "stranger"), FIRST)

    with pytest.raises(ReleaseError, match="not signed by a key that is trusted here"):
        latest(objects, keys, "churn", "production")


def test_a_signature_over_the_same_bytes_for_another_purpose_is_refused(objects, keys):
    content = msgspec.json.encode(FIRST)
    forged = {"release": msgspec.Raw(content), "signature": keys.sign(content)}
    objects.put(KEY, msgspec.json.encode(forged))

    with pytest.raises(ReleaseError, match="not signed by a key that is trusted here"):
        latest(objects, keys, "churn", "production")


@pytest.mark.parametrize(
    "place",
    ["releases/churn/production/2.json", "releases/churn/dev/1.json", "releases/fraud/dev/1.json"],
)
def test_a_copy_in_another_place_is_refused(objects, keys, place):
    write(objects, keys, FIRST)
    objects.put(place, objects.get(KEY))
    _, project, environment, name = place.split("/")

    with pytest.raises(ReleaseError, match="is a copy of release 1 of churn in production"):
        read(objects, keys, project, environment, int(name[0]))


def test_a_good_release_above_a_bad_one_holds(objects, keys):
    objects.put(KEY, b"garbage")
    second = write(objects, keys, replace(FIRST, number=2))

    assert latest(objects, keys, "churn", "production") == second


@pytest.mark.parametrize("name", ["../churn", "a/b", "", "Prod", "a\n", "-a", "%2e%2e", "a;b", "."])
def test_a_clients_environment_never_becomes_a_path(objects, keys, name):
    with pytest.raises(ReleaseError, match="is not a project or environment"):
        latest(objects, keys, "churn", name)
    with pytest.raises(ReleaseError, match="is not a project or environment"):
        latest(objects, keys, name, "dev", after=1)


def test_reading_releases_loads_no_database_and_no_data_library():
    script = """
import sys
import loopline.registry.release
heavy = {"polars", "pyarrow", "pydantic", "sqlalchemy", "numpy", "sklearn", "pickle"}
print(sorted(heavy & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert found.stdout.decode().strip() in ("[]", "['pickle']")
