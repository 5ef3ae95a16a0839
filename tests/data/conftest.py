"""A tokenizer of whole words, made anew for each test because some change it."""

from pathlib import Path
from typing import Any

import pytest

from tests.methods.conftest import save_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path / "tokenizer")
    return AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
