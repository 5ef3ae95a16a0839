"""Answers that say who wrote them: their raters are not blind, whatever the page hides."""

import re
from collections.abc import Iterable

WORDS = (
    "vicuna",
    "lmsys",
    "koala",
    "uc berkeley",
    "open assistant",
    "laion",
    "chatglm",
    "chatgpt",
    "gpt-4",
    "openai",
    "anthropic",
    "claude",
    "bard",
    "palm",
    "lamda",
    "google",
    "gemini",
    "llama",
    "qianwan",
    "qwen",
    "alibaba",
    "mistral",
    "zhipu",
    "keg lab",
    "01.ai",
    "ai2",
    "tülu",
    "tulu",
    "deepseek",
    "hermes",
    "cohere",
    "dbrx",
    "databricks",
)
"""Names of models and their makers (FastChat's `clean_battle_data.py`); some are common words as well."""

_PLAIN = re.compile(r"[a-z]*", re.IGNORECASE)  # "wren" or "tuned": as a name it would be found everywhere


def leaks(text: str, models: Iterable[str] = ()) -> tuple[str, ...]:
    """The names in this answer, in any case and as whole words: those of WORDS and of `models` themselves.

    Of a reference such as "Qwen/Qwen2.5-0.5B" or "run:kind-1" the whole and its last part are looked for, but
    no part that is letters alone.
    """
    parts = [part for model in models for part in (model, re.split(r"[/:]", model)[-1])]
    own = [part.lower() for part in parts if not _PLAIN.fullmatch(part)]
    said = text.lower()
    near = [word for word in {*WORDS, *own} if word in said]  # a hundred times quicker than the pattern alone
    if not near:
        return ()
    words = "|".join(map(re.escape, sorted(near, key=lambda word: (-len(word), word))))
    return tuple(dict.fromkeys(re.findall(rf"(?<!\w)(?:{words})(?!\w)", said)))
