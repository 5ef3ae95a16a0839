"""What models said: answers with the fingerprint that proves which weights and settings gave them.

    answer.py      an answer, how it was drawn, and its fingerprint
    asking.py      ask and compare: the models answer in another process, which is reached through `ftlab.warm`
    comparison.py  answers of several models to the same prompts
    words.py       how two texts differ, word by word

Only the standard library is imported here, because widgets use it.
"""

from ftlab.answers.answer import (
    Answer,
    Delta,
    Fingerprint,
    Finish,
    Message,
    Prompt,
    Sampling,
    as_messages,
    said,
)
from ftlab.answers.asking import as_error, ask, compare, count_tokens
from ftlab.answers.comparison import Comparison
from ftlab.answers.words import Word, word_diff

__all__ = [
    "Answer",
    "Comparison",
    "Delta",
    "Fingerprint",
    "Finish",
    "Message",
    "Prompt",
    "Sampling",
    "Word",
    "as_error",
    "as_messages",
    "ask",
    "compare",
    "count_tokens",
    "said",
    "word_diff",
]
