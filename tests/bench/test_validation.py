"""The bench of 82 checks counts the same by hand and by Loopline."""

from bench.validation import by_loopline, by_one_pass, contract, make


def test_both_count_82_checks_alike(tmp_path):
    file = make(tmp_path / "data.parquet", 5_000)

    own, by_hand = by_loopline(file), by_one_pass(file)

    assert len(own) == len(by_hand) == 82, (len(own), len(by_hand))
    assert sorted(own) == sorted(by_hand)
    assert sum(map(bool, own)) > 60
    assert len(contract().data.columns) == 50
