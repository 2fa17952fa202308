"""Questions of the package reasoning-gym, made and scored in a process of their own.

Three reasons for that process: what a family makes depends on Python's hash seed, some families run an answer
as Python when they score it, and a hard expression can take for ever.  The worker fixes the seed, evaluates
plain expressions only, and ends itself when a question takes too long.
"""

from tunesmith.core.gym.client import About, Place, Question, Unscored, about, close, question, score

__all__ = ["About", "Place", "Question", "Unscored", "about", "close", "question", "score"]
