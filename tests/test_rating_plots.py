"""Figures about ratings: what they show of a report, and the twins that they leave."""

import re
from html import unescape

import pytest

from ftlab import plots, rating_plots
from ftlab.errors import DataError
from ftlab.judges.worth import Point, Worth


def statistic(name, value, low=None, high=None, n=50, reason=""):
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "reason": reason, "about": ""}


def places(*rows):
    names = ("model", "elo", "elo_low", "elo_high")
    return [dict(zip(names, row, strict=True)) for row in rows]


RANKING = {
    "places": places(("tuned", 80.0, 40.0, 120.0), ("base", -80.0, -120.0, -40.0)),
    "reason": "",
    "note": "",
}
REFUSED = {"places": [], "reason": "undefined: tuned has not lost to any other model", "note": ""}
GENTLE = {
    "places": places(("tuned", 400.0, None, None), ("base", -400.0, None, None)),
    "reason": "",
    "note": "regularised, alpha = 0.01",
}
REPORT = {
    "batch": "tour",
    "who": "persons",
    "agreement": [
        statistic("percent with ties", 0.7, 0.6, 0.8),
        statistic("Krippendorff's alpha, nominal", None, reason="undefined: every answer is the same"),
    ],
    "ceilings": [
        {"name": "InstructGPT", "measure": "percent", "low": 0.71, "high": 0.74, "source": "Ouyang"},
        {"name": "Krippendorff", "measure": "alpha", "low": 0.667, "high": 0.8, "source": "Krippendorff"},
    ],
    "ranking": RANKING,
    "controlled": {**RANKING, "places": places(("base", 10.0, -20.0, 40.0), ("tuned", -10.0, -40.0, 20.0))},
    "gentle": None,
    "position": {"share": statistic("left preferred", 0.55, 0.5, 0.6)},
    "longer": statistic("longer preferred", None, reason="undefined: no pair of unlike length"),
    "raters": [{"name": "<b>ann</b>", "position": {"share": statistic("left preferred", 0.9, 0.8, 0.95)}}],
    "over_time": {"ann": [[5, 9.0], [10, 4.0]], "ben": [[5, 2.0], [10, 2.5]]},
    "couples": [{"a": "ann", "b": "ben", "values": ["first", "second"], "table": [[8, 1], [2, 4]]}],
    "judges": [
        {"name": "gold", "calibration": {"bins": [
            {"group": "1", "gap": 1.0, "rate": 0.6, "low": 0.5, "high": 0.7, "n": 40},
            {"group": "2", "gap": 2.0, "rate": 0.9, "low": 0.8, "high": 0.95, "n": 40},
        ]}}
    ],
}  # fmt: skip


def alt(figure):
    [words] = re.findall(r'alt="([^"]*)"', plots.static(figure))
    return unescape(words)


def test_agreement_stands_before_what_people_reach_by_the_same_measure():
    figure = rating_plots.agreement(REPORT)
    [marks] = figure.data
    assert list(marks.x) == [0.7, None]
    bands = sorted(
        (round(shape.x0 + 0.002, 3), round(shape.x1 - 0.002, 3), shape.y0)
        for shape in figure.layout.shapes
        if shape.type == "rect"
    )
    assert bands == [(0.667, 0.8, 0.6), (0.71, 0.74, -0.4)]
    assert "percent with ties: 0.7 (0.6 to 0.8)" in alt(figure)
    assert "undefined: every answer is the same" in alt(figure)


def test_a_ranking_is_drawn_with_and_without_length():
    figure = rating_plots.ranking(REPORT)
    assert [trace.name for trace in figure.data] == ["as compared", "length taken out"]
    assert list(figure.data[0].x) == [80.0, -80.0]
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    assert "base, length taken out: 10 (-20 to 40)" in alt(figure)


def test_a_refused_ranking_says_why_and_a_regularised_one_says_so():
    refused = {**REPORT, "ranking": REFUSED, "controlled": REFUSED}
    assert "tuned has not lost" in alt(rating_plots.ranking(refused))
    gentle = rating_plots.ranking({**refused, "gentle": GENTLE})
    assert "regularised, alpha = 0.01" in gentle.layout.title.text
    assert "tuned: 400" in alt(gentle)


def test_bias_of_all_and_of_each_rater_stands_around_a_half():
    figure = rating_plots.bias(REPORT)
    assert [data[0] for data in figure.data[0].customdata] == [
        "left, all raters",
        "longer, all raters",
        "left, <b>ann</b>",
    ]
    assert "&lt;b&gt;ann" in str(figure.layout.yaxis.ticktext)
    assert "<b>ann" not in plots.static(figure)


def needle(*points, reason=""):
    return Worth(
        tuple(Point(clicks, right, 200) for clicks, right in points), "wren", "the embedded world", reason
    )


def test_worth_shows_every_point_also_of_a_model_that_learned_the_opposite():
    figure = rating_plots.worth({"pair": needle((2, 40), (4, 136)), "rank": needle((9, 180))})
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in figure.data] == [
        ("pair", [2, 4], [0.2, 0.68]),
        ("rank", [9], [0.9]),
    ]
    low, high = figure.layout.yaxis.range
    assert low < figure.data[0].y[0] - figure.data[0].error_y.arrayminus[0]
    assert high > 1
    assert figure.layout.xaxis.dtick == 1


def test_worth_of_nothing_is_said_to_be_undefined():
    figure = rating_plots.worth({"pair": needle(reason="no rating with a preference yet")})
    assert [(trace.name, list(trace.y)) for trace in figure.data] == [
        ("pair: no rating with a preference yet", [None])
    ]
    assert "no rating with a preference yet" in alt(figure)


def test_pace_is_a_line_a_rater():
    figure = rating_plots.pace(REPORT)
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in figure.data] == [
        ("ann", [5, 10], [9.0, 4.0]),
        ("ben", [5, 10], [2.0, 2.5]),
    ]
    assert "ann 9 at 5, 4 at 10" in alt(figure)


def test_confusion_has_the_first_rater_in_rows_and_a_table_as_its_twin():
    figure = rating_plots.confusion(REPORT, "ben", "ann")
    assert [list(line) for line in figure.data[0].z] == [[8, 1], [2, 4]]
    assert figure.layout.yaxis.title.text == "ann said"
    cells = re.findall(r"<td[^>]*>(\d+)</td>", plots.static(figure))
    assert cells == ["8", "1", "2", "4"]


def test_who_has_nothing_in_common_is_named():
    with pytest.raises(DataError, match="ann and zoe have no task in common"):
        rating_plots.confusion(REPORT, "ann", "zoe")


def test_calibration_rises_with_how_sure_the_judge_is():
    figure = rating_plots.calibration(REPORT)
    assert list(figure.data[0].y) == [0.6, 0.9]
    assert list(figure.data[0].customdata) == [40, 40]
    with pytest.raises(DataError, match="'other'.*gold"):
        rating_plots.calibration(REPORT, "other")


def test_what_is_no_report_is_refused():
    with pytest.raises(DataError, match=r"Ratings\.board"):
        rating_plots.ranking([{"a": 1}])
