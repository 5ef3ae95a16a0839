"""TRL takes every export as it is: its own functions, its own trainers' preparation, files read by `datasets`."""

import pytest
from exchange import every_mode, row, say

pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")
data_utils = pytest.importorskip("trl.data_utils")


@pytest.fixture
def rated(store):
    every_mode(store)
    talk = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Who are you?"},
    ]
    store.add(
        [row(talk, "a wren", "a robot")] + [row(f"Q{n}?", f"yes {n}", f"no {n}") for n in range(6)], "pair"
    )
    say(store, "bob", "pair", {"prefer": "three", "strength": 2})
    say(store, "bob", "pair", {"prefer": "a wren", "strength": 2})
    for n in range(6):
        say(store, "bob", "pair", {"prefer": f"yes {n}", "strength": n % 3 + 1})
    return store


def load(path, tmp_path):
    kind = {".jsonl": "json", ".parquet": "parquet"}[path.suffix]
    return datasets.load_dataset(kind, data_files=str(path), cache_dir=str(tmp_path / "cache"), split="train")


SUFFIXES = pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])


@SUFFIXES
@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_preferences_have_a_prompt_and_can_be_unpaired(rated, tmp_path, suffix, standard, implicit):
    done = rated.export(tmp_path / f"p{suffix}", standard=standard, implicit_prompt=implicit)
    dataset = load(done.path, tmp_path)
    assert dataset.num_rows == done.rows
    assert all(data_utils.is_conversational(each) is not standard for each in dataset)
    explicit = dataset.map(data_utils.maybe_extract_prompt)
    if not standard:
        prompts = [each["prompt"][-1]["content"] for each in explicit]
        assert "Who are you?" in prompts
        assert all(len(each["chosen"]) == 1 for each in explicit)
    unpaired = data_utils.maybe_unpair_preference_dataset(explicit)
    assert unpaired.num_rows == 2 * done.rows
    assert set(unpaired["label"]) == {True, False}


@SUFFIXES
def test_unpaired_and_demonstrations_are_prompt_and_completion(rated, tmp_path, suffix):
    unpaired = load(rated.export(tmp_path / f"u{suffix}", "unpaired").path, tmp_path)
    assert data_utils.is_conversational(unpaired[0])
    assert set(unpaired["label"]) == {True, False}
    assert data_utils.maybe_unpair_preference_dataset(unpaired) is unpaired
    sft = load(rated.export(tmp_path / f"s{suffix}", "sft").path, tmp_path)
    assert {"prompt", "completion"} <= set(sft.column_names)
    assert all(each["completion"][0]["role"] == "assistant" for each in sft)


@pytest.fixture(scope="module")
def folder():
    from ftlab.models import base_folder

    return base_folder("wren-xs")[0]


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_a_chat_template_is_applied_by_trl_itself(rated, tmp_path, tokenizer):
    for kind in ("preference", "unpaired", "sft"):
        dataset = load(rated.export(tmp_path / f"{kind}.jsonl", kind).path, tmp_path)
        for each in dataset:
            keys = {"prompt", "chosen", "rejected", "completion", "label"} & set(each)
            written = data_utils.maybe_apply_chat_template({key: each[key] for key in keys}, tokenizer)
            assert all(isinstance(written[key], str) and written[key] for key in keys - {"label"})


def test_a_split_folder_is_a_dataset_with_its_two_halves(rated, tmp_path):
    done = rated.export(tmp_path / "out" / "prefs.jsonl", split=0.4)
    found = datasets.load_dataset(str(done.path.parent), cache_dir=str(tmp_path / "cache"))
    assert {name: part.num_rows for name, part in found.items()}.keys() == {"train", "test"}
    assert sum(part.num_rows for part in found.values()) == done.rows


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing`:FutureWarning")
def test_trls_trainers_prepare_the_files_without_a_line_of_glue(rated, tmp_path, folder, tokenizer):
    """DPO, reward, KTO and SFT up to the token columns that their collators take."""
    import trl
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    causal, scoring = AutoModelForCausalLM, AutoModelForSequenceClassification
    trainers = {
        "preference": (causal, trl.DPOTrainer, trl.DPOConfig),
        "reward": (scoring, trl.RewardTrainer, trl.RewardConfig),
        "unpaired": (causal, trl.KTOTrainer, trl.KTOConfig),
        "sft": (causal, trl.SFTTrainer, trl.SFTConfig),
    }
    for kind, (model_class, trainer_class, config_class) in trainers.items():
        done = rated.export(tmp_path / f"{kind}.parquet", kind)
        dataset = load(done.path, tmp_path)
        arguments = config_class(
            output_dir=str(tmp_path / kind),
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        )
        more = {"num_labels": 1} if kind == "reward" else {}
        model = model_class.from_pretrained(folder, **more)
        trainer = trainer_class(
            model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer
        )
        assert len(trainer.train_dataset) == done.rows
        batch = next(iter(trainer.get_train_dataloader()))
        if kind == "reward":
            assert set(batch["margin"].tolist()) <= set(dataset["margin"])
