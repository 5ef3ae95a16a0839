"""Runs that wait for their turn: nobody is forgotten, nobody starts twice, whatever happens to the carrier."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftlab.cli import main
from ftlab.config import RunConfig
from ftlab.errors import RunError
from ftlab.events import Measured, Started
from ftlab.run import Run, launch, line, queued, runs, slots
from ftlab.warm import plain

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def acted(monkeypatch):
    """Runs are trained by actor.py; what runs or waits at the end is ended, and the carrier with it."""
    monkeypatch.setenv("FTLAB_WARM", "off")
    monkeypatch.setattr(plain, "TRAINER", (sys.executable, str(HERE / "actor.py")))
    monkeypatch.setattr(line, "CARRIER", (sys.executable, str(HERE / "carrier.py")))
    yield
    for entry in line.waiting():
        line.leave(entry.name)
    for run in runs():
        if process := run._process():
            process.kill()
            run.wait(30)
    if process := line.carried_by():
        process.kill()


class Begun:
    """A view that says when a run has begun so often and written its figures."""

    def __init__(self, times):
        self.left, self.begun = times, threading.Event()

    def update(self, events):
        for event in events:
            self.left -= isinstance(event, Started)
            if isinstance(event, Measured) and event.step == 3 and not self.left:
                self.begun.set()


def at_work(run, times=1):
    """The run once it trains; it may wait for its turn before. A resumed one begins for the second time."""
    view = Begun(times)
    following = run.follow(view)
    assert view.begun.wait(60), (run.status, run.reason)
    following.stop()
    following.join(30)
    return run


def holding(**fields):
    return launch(trainer={"act": "hold"}, **fields)


def starts(run):
    return sum(isinstance(event, Started) for event in run.events()[0])


def test_a_queued_run_waits_for_the_one_before_and_then_begins_by_itself():
    first = at_work(holding(name="first"))
    second = launch(trainer={"act": "finish"}, name="second", queue=True)
    assert (second.status, second.position, second.pid) == ("queued", 1, None)
    assert queued() == [second]
    first.stop()
    assert second.wait(60) == "finished"
    assert (second.position, starts(second)) == (None, 1)


def test_the_order_is_the_one_of_joining_and_can_be_changed():
    first = at_work(holding(name="first"))
    for name in "abcd":
        launch(trainer={"act": "finish"}, name=name, queue=True)
    Run.open("d").enqueue(1)
    Run.open("a").enqueue(3)
    Run.open("b").enqueue()
    assert [run.name for run in queued()] == ["d", "a", "c", "b"]
    assert [Run.open(name).position for name in "abcd"] == [2, 4, 3, 1]
    with pytest.raises(RunError, match="the first one is 1"):
        Run.open("a").enqueue(0)
    first.stop()
    assert Run.open("b").wait(60) == "finished"
    began = {name: Run.open(name).events()[0][0].time for name in "abcd"}
    assert sorted(began, key=began.__getitem__) == ["d", "a", "c", "b"]


def test_with_two_slots_two_trainings_go_on_at_once_and_the_third_waits():
    assert slots() == 1
    assert slots(2) == 2
    first, second, third = (holding(name=name, queue=True) for name in ("first", "second", "third"))
    at_work(first)
    at_work(second)
    assert third.status == "queued"
    second.stop()
    at_work(third)
    assert first.status == "running"
    with pytest.raises(RunError, match="1 to 64"):
        slots(0)


def test_a_run_that_leaves_the_line_is_as_it_was_before():
    at_work(holding(name="first"))
    second = holding(name="second", queue=True)
    assert second.dequeue().status == "created"
    with pytest.raises(RunError, match="does not wait in line"):
        second.dequeue()
    third = holding(name="third", queue=True)
    assert third.stop().status == "created"
    assert line.waiting() == []


def test_a_queued_run_can_be_started_at_once_and_begins_only_once():
    first = at_work(holding(name="first"))
    second = at_work(holding(name="second", queue=True).start())
    assert line.waiting() == []
    first.stop().wait(30)
    second.stop()
    assert second.wait(30) == "stopped"
    assert starts(second) == 1


def test_a_stopped_run_waits_to_go_on_and_then_does():
    stopped = at_work(holding(name="stopped"))
    stopped.stop().wait(30)
    first = at_work(holding(name="first"))
    assert stopped.enqueue().status == "queued"
    assert stopped.dequeue().status == "stopped"
    stopped.enqueue()
    first.stop()
    at_work(stopped, times=2)
    assert starts(stopped) == 2


def test_what_has_no_future_does_not_wait_for_it():
    finished = launch(trainer={"act": "finish"})
    finished.wait(30)
    with pytest.raises(RunError, match="trains its result further"):
        finished.enqueue()
    going = at_work(holding())
    with pytest.raises(RunError, match=f"process {going.pid} is at it"):
        going.enqueue()


def test_a_killed_carrier_is_replaced_by_whoever_looks():
    first = at_work(holding(name="first"))
    second = launch(trainer={"act": "finish"}, name="second", queue=True)
    line.carried_by().kill()
    first.stop().wait(30)
    assert second.status == "queued"
    assert {run.name for run in runs()} == {"first", "second"}  # looking is enough
    assert second.wait(60) == "finished"
    assert starts(second) == 1


def test_the_line_goes_on_without_the_process_that_filled_it():
    code = (
        "import sys; from ftlab.run import launch, line\n"
        f"line.CARRIER = (sys.executable, {str(HERE / 'carrier.py')!r})\n"
        "print(*[launch(trainer={'act': 'finish'}, queue=True).name for _ in range(3)])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(said.split()) == 3
    for name in said.split():
        assert Run.open(name).wait(60) == "finished"


def test_of_many_that_join_at_once_each_runs_once_and_one_carrier_does_it():
    made = [Run.create(RunConfig(trainer={"act": "finish"})) for _ in range(6)]
    threads = [threading.Thread(target=run.enqueue) for run in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in made:
        assert run.wait(60) == "finished"
        assert starts(run) == 1
    times = sorted(event.time for run in made for event in run.events()[0] if isinstance(event, Started))
    ends = sorted(run.events()[0][-1].time for run in made)
    assert all(begin >= end for begin, end in zip(times[1:], ends, strict=False))  # never two at a time


def test_a_run_that_cannot_be_started_says_why_and_does_not_hold_up_the_others(tmp_path, own_home):
    first = at_work(holding(name="first"))
    broken = holding(name="broken", queue=True)
    after = launch(trainer={"act": "finish"}, name="after", queue=True)
    (broken.folder / "config.json").write_text("{")
    first.stop()
    assert after.wait(60) == "finished"
    assert broken.status == "failed"
    assert "not JSON" in broken.reason


def test_a_trainer_that_does_not_start_is_told_and_can_be_tried_again(monkeypatch, tmp_path):
    faulty = tmp_path / "carrier.py"
    faulty.write_text(
        "import sys; from ftlab.run import line; from ftlab.warm import plain\n"
        "plain.TRAINER = ('/nowhere/python',); line.carry(int(sys.argv[1]))"
    )
    with monkeypatch.context() as patched:
        patched.setattr(line, "CARRIER", (sys.executable, str(faulty)))
        run = launch(trainer={"act": "finish"}, queue=True)
        assert run.wait(60) == "failed"
    assert "no trainer could be started" in run.reason
    assert queued() == []
    assert run.enqueue().wait(60) == "finished"


def test_an_unreadable_entry_is_nobody_in_line(own_home):
    at_work(holding(name="first"))
    holding(name="second", queue=True)
    (own_home / "runs" / ".line" / "third.json").write_text('{"place": "now"')
    (own_home / "runs" / ".line" / "gone.json").write_text(json.dumps({"place": 1.0, "after": None}))
    assert [run.name for run in queued()] == ["second"]


def test_the_shell_queues_clones_lists_and_deletes(tmp_path, capsys):
    first = at_work(holding(name="first"))
    config = tmp_path / "config.yaml"
    config.write_text("name: second\nmethod: lora\ntrainer: {act: finish}\n")
    assert main(["train", str(config), "--queue"]) == 0
    assert main(["clone", "second", "--set", "method.rank=4", "--queue"]) == 0
    assert "method.rank: 8 -> 4" in capsys.readouterr().out
    assert main(["queue", "--slots", "1"]) == 0
    assert capsys.readouterr().out.split() == "1 second 2 second-rank-4 one after the other".split()
    assert main(["stop", "second"]) == 0
    assert "second: created" in capsys.readouterr().out
    assert main(["delete", "second"]) == 0
    first.stop()
    assert Run.open("second-rank-4").wait(60) == "finished"
    assert {run.name for run in runs()} == {"first", "second-rank-4"}
    assert main(["clone", "first", "--warm", "now"]) == 1
    assert "it is the step of a checkpoint" in capsys.readouterr().err
