"""What really ran is what is said to have run."""

import json
import multiprocessing
import resource

import nbformat
import pytest

from ftlab.errors import FtlabError
from ftlab.notebook import chapters, execute, to_html


def notebook(path, *sources, parameters="steps = 3\nname = 'a'\nflag = False"):
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    node = nbformat.v4.new_notebook(cells=cells)
    node.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(node, path)
    return path


def test_parameters_reach_the_cells_and_the_output_says_so(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "print(steps * 2)")
    done = execute(path, tmp_path / "out" / "n.ipynb", {"steps": 21})
    assert done.complete
    assert done.ran == done.cells == 3  # the parameters, the injected ones, the cell
    text = json.dumps(nbformat.read(done.output, 4).cells[-1].outputs)
    assert "42" in text


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"step": 3}, "did you mean 'steps'"),
        ({"steps": "many"}, "wants int, got 'many'"),
        ({"flag": 1}, "wants bool, got 1"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(tmp_path, parameters, message):
    path = notebook(tmp_path / "n.ipynb", "print(1)")
    with pytest.raises(FtlabError, match=message):
        execute(path, tmp_path / "out.ipynb", parameters)
    assert not (tmp_path / "out.ipynb").exists()


def test_a_failing_cell_is_named_and_the_output_is_kept(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "print('before')", "1 / 0", "print('after')")
    done = execute(path, tmp_path / "out.ipynb")
    assert not done.complete
    assert "ZeroDivisionError" in done.error
    assert "before" in done.output.read_text()


def test_a_cell_skipped_by_a_dead_kernel_is_not_taken_for_one_that_ran(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "import os; os._exit(0)", "print('after')")
    done = execute(path, tmp_path / "out.ipynb")
    assert not done.complete
    assert done.error


def with_small_files(path, output):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    with pytest.raises(FtlabError, match="cannot be written"):
        execute(path, output)


def test_a_full_disk_leaves_the_last_whole_output(tmp_path):
    path = notebook(tmp_path / "n.ipynb", "print('word ' * 100_000)")
    output = tmp_path / "out.ipynb"
    output.write_text("the last one", encoding="utf-8")
    child = multiprocessing.get_context("fork").Process(target=with_small_files, args=(path, output))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert output.read_text(encoding="utf-8") == "the last one"
    assert sorted(path.name for path in tmp_path.glob("*.ipynb")) == ["n.ipynb", "out.ipynb"]


def test_a_page_made_of_a_notebook_forbids_scripts(tmp_path):
    path = notebook(
        tmp_path / "n.ipynb",
        "from IPython.display import HTML; HTML('<p>kept</p><script>window.ran = 1</script>')",
    )
    page = to_html(execute(path, tmp_path / "out.ipynb").output, tmp_path / "out.html").read_text()
    assert "kept" in page
    assert page.index("Content-Security-Policy") < page.index("<script")


def test_every_chapter_is_committed_without_outputs():
    assert "00_tour" in chapters()
    for path in chapters().values():
        for cell in nbformat.read(path, 4).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
