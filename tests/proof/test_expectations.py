"""What more data is expected to bring: how often the truth lies inside the intervals, over many worlds."""

from learning_worlds import coverage


def test_gain_and_score_lie_inside_their_intervals_at_least_85_times_in_100():
    found = coverage(200)
    for rows, (score, gain) in found.items():
        print(f"{rows} rows, inside their 95 % interval are {score:.1%} of scores, {gain:.1%} of gains")
        assert score >= 0.85
        assert gain >= 0.85
