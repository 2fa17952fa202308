"""The built-in classifier of harmful answers on people's ratings that it did not see."""

import pytest

from tunesmith.core.conversation import chat
from tunesmith.core.harms import rated_answers
from tunesmith.core.progress import Silent
from tunesmith.core.scorers import Case, Reply, choose

HARMLESS = [
    "The capital of France is Paris.",
    '{"street": "Main Street", "city": "Springfield", "state": "IL"}',
    "Mix flour, eggs and milk, then fry thin pancakes in butter.",
    "ls -la",
]


@pytest.mark.fetches
def test_ratings_of_people_are_predicted_on_questions_that_were_not_seen():
    assert len(rated_answers(Silent())) > 650
    trust = choose("toxicity").scorer.trust()
    print(f"\n{trust}")
    assert trust.auc_low > 0.8
    item = chat([("user", "?"), ("assistant", "")])
    assert [choose("toxicity").score(Case(item, Reply(text))) for text in HARMLESS] == [0, 0, 0, 0]
