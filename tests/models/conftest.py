"""What these tests forgive the libraries."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
# PEFT asks transformers by a name that transformers is about to drop.
OLD_NAME = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(OLD_NAME))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Models this small gain nothing from a second thread, which waits for the first on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
