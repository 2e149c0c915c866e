"""Tables are read on narrow terminals too."""

import pytest

from loopline.cli.table import print_table

WORDS = "new are Rome 32.5%, Paris 29.5%, Oslo 38.0%; gone is Vienna"


def test_figures_and_names_are_whole_on_a_narrow_terminal_and_sentences_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    print_table(["column", "Wasserstein", "what"], [["city", "12.7276 → 8", WORDS]])

    first, second, *others = capsys.readouterr().out.splitlines()
    assert first.split() == ["column", "Wasserstein", "what"]
    assert second.startswith("city    12.7276 → 8  new are Rome 32.5%,")
    assert others[-1].strip().endswith("Vienna")
    assert max(map(len, others)) <= len("city    12.7276 → 8  ") + 26


def test_a_table_that_fits_is_as_wide_as_what_is_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    print_table(["column", "what"], [["city", WORDS]])

    assert capsys.readouterr().out.splitlines()[1] == f"city    {WORDS}"
