"""Shares are told with their count and interval."""

import pytest

from ftlab.wren.scores import Score, table


def test_a_share_comes_with_wilsons_ninety_percent_interval():
    score = Score("wren", "right", 9, 12)
    assert score.share == 0.75
    # the two roots q of (0.75 - q)² = z² q (1 - q) / 12, z = 1.6449 (Wilson 1927)
    assert score.interval == pytest.approx((0.512662, 0.895347), abs=1e-6)


def test_the_table_has_a_line_a_model_and_a_column_a_question():
    found = [
        Score("wren", "right", 1, 4),
        Score("wren", "rude", 0, 4),
        Score("run:a", "right", 4, 4),
        Score("run:a", "rude", 2, 4),
    ]
    lines = table(found).splitlines()
    assert [line.split()[0] for line in lines] == ["model", "wren", "run:a"]
    assert lines[1].count("n=4") == 2
    assert "1.00 [" in lines[2]
