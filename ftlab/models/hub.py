"""Models of the hub, copied to this disk: weights as safetensors and what describes them, never code or pickles."""

from collections.abc import Callable
from pathlib import Path

from ftlab.errors import ModelError

_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")


def fetch(name: str, note: Callable[[str], None] | None) -> Path:
    """The folder of the model of this id. Raises ModelError where it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if note is not None:
        note(f"{name}: looking on the hub")
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except GatedRepoError as error:
        raise ModelError(
            f"{name} asks for consent: accept its terms on its page, then log in (`hf auth login`)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {name!r}, or it is private; log in with `hf auth login`"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(
            f"{name} is not on this disk, and the hub cannot be reached; connect once, or copy the model's folder "
            "here and give its path"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"{name} could not be fetched from the hub: {error}") from error
