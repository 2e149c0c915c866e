"""The watch report: whole, small, offline; nothing of the data becomes code."""

import hashlib
import html.parser
import json
import re
import shutil
import subprocess
from base64 import b64encode
from datetime import UTC, datetime

import pytest

from loopline.errors import StoreError
from loopline.publishing.watching import page
from loopline.publishing.watching.past import gather
from loopline.status import status

HOSTILE = "<img src=x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Read(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.blocks: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        (self.blocks if self._inside in ("script", "style") else self.text).append(data)


@pytest.fixture(scope="module")
def written(read_only, tmp_path_factory):
    now = datetime(2013, 5, 17, tzinfo=UTC)
    past = gather(read_only.space, now)
    file = tmp_path_factory.mktemp("pages") / "new" / "watch.html"
    return page.write(past, status(read_only.space, now), file)


def test_the_page_is_whole_small_and_asks_nobody_for_anything(written):
    text = written.read_text(encoding="utf-8")
    read = Read(text)

    assert len(text.encode()) < 2_000_000
    asking = ("src", "href", "action", "data", "srcset", "poster")
    found = [(name, given[name]) for _, given in read.tags for name in given if name in asking]
    assert [(name, text) for name, text in found if name != "href" or text[0] != "#"] == []
    places = {given["id"] for _, given in read.tags if "id" in given}
    assert {text[1:] for name, text in found} <= places
    said = " ".join(read.text)
    for part in (
        "The loop", "Open findings", "Promises over time", "Money", "Drift over time",
        "Worst drifts now", "Calibration", "Fairness", "Outcomes", "Service", "Quality of the data",
        "What was done", "EUR",
    ):  # fmt: skip
        assert part in said, part


def test_its_policy_lets_only_its_own_script_and_style_run(written):
    text = written.read_text(encoding="utf-8")
    metas = [given for tag, given in Read(text).tags if tag == "meta"]
    [policy] = [given["content"] for given in metas if "http-equiv" in given]

    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        [body] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    # The other block is data, which no browser runs.
    assert re.findall(r"<script ([^>]*)>", text) == ['type="application/json" id="charts"']


def test_every_chart_has_its_words_and_most_their_figures(written):
    read = Read(written.read_text(encoding="utf-8"))
    drawn = [given for _, given in read.tags if "data-chart" in given]
    [block] = [json.loads(block) for block in read.blocks if block.startswith("{")]
    specs = block["specs"]

    assert len(drawn) == len(specs) > 8
    assert [int(given["data-chart"]) for given in drawn] == list(range(len(specs)))
    assert all(given["role"] == "img" and len(given["aria-label"]) > 10 for given in drawn)
    assert sum(tag == "details" for tag, _ in read.tags) >= len(drawn) - 2


def test_names_from_data_are_text_and_data_and_nothing_else(written):
    text = written.read_text(encoding="utf-8")
    read = Read(text)

    assert "img" not in {tag for tag, _ in read.tags}
    assert HOSTILE not in text
    assert any(HOSTILE in said for said in read.text)
    assert not [name for _, given in read.tags for name in given if name.startswith("on")]


def test_a_project_that_served_nothing_yet_has_a_page_too(world, day):
    past = gather(world.space, day(0))

    said = " ".join(Read(page.html(past, status(world.space, day(0)))).text)

    assert "Nothing serves yet." in said
    assert "nothing" in said


def test_a_place_that_cannot_be_written_to_is_named(world, day, tmp_path):
    (tmp_path / "file").write_text("")
    past = gather(world.space, day(0))

    with pytest.raises(StoreError, match=r"cannot be written to .*watch\.html: Not a directory"):
        page.write(past, status(world.space, day(0)), tmp_path / "file" / "a" / "watch.html")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1280, 500], ids=["a desk", "a narrow window"])
def test_a_browser_draws_every_chart_within_its_window_and_complains_of_nothing(
    written, tmp_path, width
):
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}", "--enable-logging=stderr",
            f"--window-size={width},900", "--virtual-time-budget=60000", "--dump-dom",
            written.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )  # fmt: skip

    charts = re.findall(r'data-chart="\d+"', done.stdout)
    assert len(charts) > 8
    assert done.stdout.count('data-drawn="yes"') == len(charts)
    wide = [int(text) for text in re.findall(r'<svg[^>]* width="(\d+)"[^>]* viewBox', done.stdout)]
    assert len(wide) == len(charts)
    assert max(wide) <= width - 32  # the page's own margins
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
