"""What training did to a model, read from its saved numbers.

invisible.py  the words nearest to a soft prompt's vectors
"""

from ftlab.explain.invisible import Near, nearest_words

__all__ = ["Near", "nearest_words"]
