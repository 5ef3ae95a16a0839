"""The chapters on methods, headless and small: every cell runs, every lesson shows, every widget leaves its twin."""

import json

import nbformat
import pytest

from ftlab import warm
from ftlab.notebook import chapters, execute

SMALL = {
    "02_supervised": {"sizes": [0, 30, 300], "judged": 42},
    "08_prompting_and_prompt_tuning": {"epochs": 2.0, "lengths": [1, 5], "dialogues": 4, "judged": 28},
    "09_lora": {"epochs": 2.0, "ranks": [1, 4], "judged": 28},
    "10_distillation": {"epochs": 2.0, "labelled": 100, "unlabelled": 300, "rollouts": 5, "judged": 28},
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A chapter executed at a small size, all in one home: the model that was taught to answer is made once."""
    folder = tmp_path_factory.mktemp("chapters").resolve()
    environment = {"FTLAB_HOME": str(folder / "home")}

    def executed(name):
        report = folder / f"{name}.json"
        done = execute(
            chapters()[name],
            folder / f"{name}.ipynb",
            SMALL[name] | {"report": str(report)},
            environment=environment,
        )
        assert done.complete, done.error
        return nbformat.read(done.output, 4), json.loads(report.read_text())

    yield executed
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTLAB_HOME", environment["FTLAB_HOME"])
        warm.stop()


def twins(node):
    outputs = [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]
    assert "widgets" not in node.metadata
    return [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def test_supervised_form_comes_with_few_examples_and_skill_with_more(read):
    node, figures = read("02_supervised")
    right = {int(count): share for count, share in figures["examples"].items()}
    assert right[0] < 0.2 < 0.4 < right[30] < right[300] + 0.05
    assert "early stopping" in figures["by_heart"]
    pages = twins(node)
    for told in ("Before and after", "tokens trained", "empty answer", "numbers (100.00%)"):
        assert any(told in page for page in pages), told


def test_prompting_wears_off_and_a_learned_prompt_does_not(read):
    node, figures = read("08_prompting_and_prompt_tuning")
    once = figures["wear_off"]["the rule, once"]
    assert once[0] > 0.7 > max(once[3:])
    assert figures["soft"]["text 5"] > 0.8
    known = figures["limits"]["new facts known"]
    assert known["lora"] > known["soft-prompt"] + 0.3
    assert any("Wear-off theatre" in page for page in twins(node))


def test_lora_rank_hardly_matters_here_and_only_dylora_may_be_cut(read):
    node, figures = read("09_lora")
    assert figures["ranks"]["1"]["pirate"] > 0.7
    assert figures["cut"]["DyLoRA 1"] > figures["cut"]["LoRA 1"] + 0.15
    assert figures["loss"]["LoRA on 4 bits"] < figures["loss"]["LoRA on 32 bits"] + 0.03
    pages = twins(node)
    for told in ("From zero", "Cartridges", "Where do the bits go?", "What it takes"):
        assert any(told in page for page in pages), told


def test_distillation_brings_the_student_nearer_than_labels_do_and_moves_a_prompt_into_the_weights(read):
    node, figures = read("10_distillation")
    assert figures["kl"]["soft labels"] < figures["kl"]["hard labels"]
    assert figures["style"]["without it, distilled"] > 0.7
    assert figures["tokens_saved"] > 3
    assert any("The dark knowledge lamp" in page for page in twins(node))
