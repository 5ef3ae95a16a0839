"""Judges: a prompt and answers in, a score or a verdict out; they rate beside the person.

    gold.py      wren's exact judge
    reward.py    a reward model that a run has trained
    language.py  a language model that is asked
    head.py      a linear reward head on frozen features
    worth.py     what your clicks are worth: the head, fitted to ratings and tried on held-out pairs

A scoring judge is called with (prompt messages, text) and gives a number; a comparing one with (prompt messages,
texts in the order shown) and gives a choice. `ftlab.ratings.judging` has either rate a batch.
"""

from ftlab.judges.gold import gold
from ftlab.judges.language import Language, language
from ftlab.judges.reward import reward
from ftlab.judges.worth import Features, Worth, fit, worth

__all__ = ["Features", "Language", "Worth", "fit", "gold", "language", "reward", "worth"]
