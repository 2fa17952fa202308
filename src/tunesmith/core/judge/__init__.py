"""A language model as a judge: one answer on a scale, or which of two is better; its verdicts read strictly.

A judge is a measuring instrument with errors of its own.  What is known to go wrong is met here:

* position: both orders are asked, and a verdict that turns with the order is a tie;
* candidates that speak to the judge: their text stands between marks that it cannot know, and lines in it
  that look like verdicts are broken up;
* chatter: the last verdict line counts, and anything else is no verdict.

How far it agrees with people is measured, not believed: `tunesmith.core.stats.judged`.
"""
