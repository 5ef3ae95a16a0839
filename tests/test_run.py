"""A run is its folder: whoever looks sees the same, whatever happened to the processes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftlab.config import RunConfig
from ftlab.errors import ConfigError, RunError
from ftlab.events import Ended, Measured, Started
from ftlab.process import Process
from ftlab.run import ENDS, LOG, PROCESS, Run, launch, runs
from ftlab.warm import plain

ACTOR = Path(__file__).with_name("actor.py")


@pytest.fixture(autouse=True)
def acted(monkeypatch):
    """Runs are trained by actor.py, each in a process of its own; what still runs at the end is ended."""
    monkeypatch.setenv("FTLAB_WARM", "off")
    monkeypatch.setattr(plain, "TRAINER", (sys.executable, str(ACTOR)))
    yield
    for run in runs():
        if process := run._process():
            process.kill()
            run.wait()


def started(act="hold", **fields):
    return launch(trainer={"act": act}, **fields)


class Watch:
    """A view that keeps what it is given, and lets others wait for it."""

    def __init__(self):
        self.events, self.batches = [], 0
        self._news = threading.Condition()

    def update(self, events):
        with self._news:
            self.events += events
            self.batches += 1
            self._news.notify_all()

    def wait_for(self, condition):
        with self._news:
            assert self._news.wait_for(condition, 60)


def at_work(run):
    """The run once its trainer, which may be a resumed one, has written its figures."""
    watch = Watch()
    following = run.follow(watch)
    watch.wait_for(
        lambda: run.status in ENDS or (run.status == "running" and isinstance(watch.events[-1], Measured))
    )
    assert run.status == "running", run.reason
    following.stop()
    following.join(30)
    return run


def test_a_run_goes_from_created_to_finished():
    run = Run.create(RunConfig(trainer={"act": "finish"}))
    assert (run.status, run.pid, run.reason) == ("created", None, "")
    assert run.start() is run
    assert run.wait(30) == "finished"
    assert run.reason == ""
    assert [type(event).__name__ for event in run.events()[0]] == ["Started", *["Measured"] * 3, "Ended"]
    assert run.metrics()[-1] == {"step": 3, "epoch": 1.0, "loss": 1 / 3}


def test_a_run_opened_again_is_the_same_run():
    run = at_work(started())
    other = Run.open(run.name)
    assert (other, other.status, other.pid, other.reference) == (run, "running", run.pid, f"run:{run.name}")
    assert Run.open(run.reference) == run
    assert other.config == run.config
    assert other.events() == run.events()


def test_before_its_first_event_a_run_is_starting_and_can_be_stopped():
    run = launch(trainer={"act": "finish", "before": "hold"})
    assert run.status == "starting"
    assert run.stop().wait(30) == "stopped"


def test_a_second_start_is_refused_and_names_process_and_way_out():
    run = at_work(started())
    with pytest.raises(RunError, match=rf"running already \(process {run.pid}\).*stop\(\).*launch"):
        Run.open(run.name).start()
    run.stop().wait(30)
    with pytest.raises(RunError, match=r"has stopped already; resume\(\)"):
        run.start()


def test_of_many_starts_at_once_one_wins():
    run = Run.create(RunConfig(trainer={"act": "hold"}))
    refused, barrier = [], threading.Barrier(4)

    def go():
        barrier.wait()
        try:
            Run.open(run.name).start()
        except RunError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    at_work(run)
    assert sum(isinstance(event, Started) for event in run.events()[0]) == 1


def test_stop_is_obeyed_and_may_be_repeated():
    run = at_work(started())
    assert run.stop().stop().wait(30) == "stopped"
    assert run.reason == "stop was asked for"
    assert run.stop().status == "stopped"


def test_a_stopped_run_is_resumed_and_can_be_stopped_again():
    run = at_work(started())
    run.stop().wait(30)
    assert run.resume().status in {"starting", "running"}
    at_work(run).stop()
    assert run.wait(30) == "stopped"
    assert [type(event) for event in run.events()[0]].count(Ended) == 2
    assert [row["step"] for row in run.metrics()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("act", "words"), [("finish", "trains its result further"), ("diverge", "lower learning_rate")]
)
def test_resuming_what_has_no_future_is_refused_with_the_way_out(act, words):
    run = started(act)
    run.wait(30)
    with pytest.raises(RunError, match=words):
        run.resume()


def test_resuming_what_runs_is_refused():
    run = at_work(started())
    with pytest.raises(RunError, match=rf"process {run.pid} is at it"):
        run.resume()


def test_a_killed_trainer_is_a_failed_run_that_says_why():
    run = at_work(started())
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "failed"
    assert "killed by signal 9 (SIGKILL), as the system does when memory runs out" in run.reason
    assert "resume()" in run.reason
    with pytest.raises(RunError, match="killed by signal 9"):
        run.wait(check=True)


def test_another_signal_is_named():
    run = at_work(started())
    os.kill(run.pid, signal.SIGSEGV)
    run.wait(30)
    assert run.reason.startswith("killed by signal 11 (SIGSEGV)")


def test_stopping_now_kills_and_says_who_did():
    run = at_work(started())
    assert run.stop("now").wait(30) == "failed"
    assert run.reason == "killed by stop('now')"
    assert run.resume().status in {"starting", "running"}


def test_an_error_in_the_trainer_is_the_reason():
    run = started("raise")
    assert run.wait(30) == "failed"
    assert run.reason == "ValueError: the seventh row is odd"


def test_a_trainer_that_vanishes_with_success_has_not_finished():
    run = started("vanish")
    assert run.wait(30) == "failed"
    assert "exit code 0 before the run did" in run.reason


def test_half_a_line_is_no_error_and_no_event():
    run = at_work(started("half"))
    while "half a line" not in (run.folder / LOG).read_text():
        assert run.status == "running"
    events, offset = run.events()
    assert [type(event) for event in events] == [Started, Measured, Measured, Measured]
    assert offset < (run.folder / "events.jsonl").stat().st_size
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "failed"


def test_a_run_whose_keeper_died_as_well_still_ends():
    run = at_work(started())
    record = json.loads((run.folder / PROCESS).read_text())
    os.kill(record["keeper"]["pid"], signal.SIGKILL)
    os.kill(record["pid"], signal.SIGKILL)
    assert run.wait(30) == "failed"
    assert "ended without a word, and so did its parent" in run.reason
    assert "the trainer begins" in run.reason


def test_a_run_whose_keeper_died_alone_goes_on():
    run = at_work(started())
    os.kill(json.loads((run.folder / PROCESS).read_text())["keeper"]["pid"], signal.SIGKILL)
    assert run.status == "running"
    assert run.stop().wait(30) == "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_run_outlives_the_kernel_that_started_it(number):
    code = (
        "import signal, sys; from ftlab.run import launch; from ftlab.warm import plain\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a suite in the background ignores it
        f"plain.TRAINER = (sys.executable, {str(ACTOR)!r})\n"
        "print(launch(trainer={'act': 'hold'}).name, flush=True); sys.stdin.read()"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with kernel:
        run = at_work(Run.open(kernel.stdout.readline().strip()))
        os.killpg(kernel.pid, number)
    assert kernel.returncode
    assert run.status == "running"
    assert run.stop().wait(30) == "stopped"


def forge(run, **changes):
    path = run.folder / PROCESS
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_number_given_out_again_is_not_taken_for_the_trainer():
    run = at_work(started())
    os.kill(run.pid, signal.SIGKILL)
    run.wait(30)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        forge(run, pid=foreign.pid)
        assert Process.of(foreign.pid).alive
        assert (run.status, run.pid) == ("failed", None)
        for how in ("saving", "now"):
            with pytest.raises(RunError, match="not running, so nothing is stopped"):
                run.stop(how)
        assert not run._process().kill()
        assert foreign.poll() is None
        foreign.communicate(b"\n")
    assert foreign.returncode == 0


def test_after_a_reboot_a_run_is_interrupted_and_can_be_resumed():
    run = at_work(started())
    pid = run.pid
    forge(run, boot="another-boot")
    assert run.status == "failed"
    assert run.reason.startswith("interrupted: the machine was started anew")
    os.kill(pid, signal.SIGKILL)
    assert run.resume().status in {"starting", "running"}


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.alive
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.alive
    assert Process.of(child.pid) is None
    child.wait()


def test_made_names_count_up_and_given_names_are_refused_when_taken():
    assert [Run.create(RunConfig(method="lora")).name for _ in range(3)] == [
        "lora-wren",
        "lora-wren-2",
        "lora-wren-3",
    ]
    assert Run.create(RunConfig(name="mine")).config.name == "mine"
    with pytest.raises(RunError, match=r"'mine' is there already.*another name"):
        Run.create(RunConfig(name="mine"))


def test_the_same_launch_again_gives_the_same_run_and_another_one_gets_a_number(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    first = at_work(started(name="mine", data=str(rows)))
    again = started(name="mine", data=str(rows))
    assert (again, again.pid) == (first, first.pid)
    first.stop().wait(30)
    assert started(name="mine", data=str(rows)).status == "stopped"
    longer = at_work(started(name="mine", data=str(rows), epochs=2))
    assert longer.name == "mine-2"
    assert started(name="mine", data=str(rows), epochs=2) == longer
    rows.write_text("{ }")
    assert started(name="mine", data=str(rows)).name == "mine-3"


@pytest.mark.parametrize(
    "name",
    ["../runs", "..", ".", "", "/etc", "a/../b", ".new-x", "%2e%2e%2f", "..%252f", "A", "a\0b", "run:../x"],
)
def test_no_name_leads_out_of_the_runs_folder(name):
    with pytest.raises(RunError, match="no name of a run"):
        Run.open(name)
    if name:
        with pytest.raises(ConfigError, match="name"):
            Run.create(RunConfig(name=name))


def test_an_unknown_run_is_told_with_those_there_are():
    Run.create(RunConfig(name="here"))
    with pytest.raises(RunError, match=r"no run 'there' in .*; there are: here"):
        Run.open("there")


def test_runs_are_listed_newest_first_and_broken_ones_with_them(own_home):
    names = [Run.create(RunConfig()).name for _ in range(3)]
    (own_home / "runs" / "empty").mkdir()
    (own_home / "runs" / names[0] / "config.json").write_text('{"epochs": ')
    for age, name in enumerate(names):
        os.utime(own_home / "runs" / name / "config.json", (1000 + age, 1000 + age))
    listed = {run.name: run for run in runs()}
    assert list(listed) == ["empty", *reversed(names)]
    assert [run.status for run in listed.values()] == ["failed", "created", "created", "failed"]
    assert "the run is broken: No such file" in listed["empty"].reason
    assert "not JSON" in listed[names[0]].reason
    with pytest.raises(RunError, match="the run is broken.*\n.*not JSON"):
        Run.open(names[0])
    with pytest.raises(RunError, match="broken"):
        Run.open("empty")


def test_following_gives_everything_in_order_and_then_ends():
    run = started("finish", max_steps=5)
    watch = Watch()
    run.follow(watch).join(30)
    assert watch.events == run.events()[0]
    assert isinstance(watch.events[-1], Ended)


def test_followers_that_come_at_any_time_see_the_same():
    run = Run.create(RunConfig(trainer={"act": "hold", "steps": 200}))
    early = Watch()
    first = run.follow(early)
    at_work(run.start())
    late, last = Watch(), Watch()
    second = run.follow(late)
    run.stop().wait(30)
    third = Run.open(run.name).follow(last)
    for following in (first, second, third):
        following.join(30)
        assert not following.is_alive()
    assert early.events == late.events == last.events == run.events()[0]
    assert last.batches == 1


def test_reading_by_offsets_gives_the_same_events_in_any_batching():
    run = started("finish")
    run.wait(30)
    whole, end = run.events()
    data = (run.folder / "events.jsonl").read_bytes()
    chance = random.Random(0)
    for _ in range(20):
        cuts = [*sorted(chance.sample(range(len(data)), 5)), len(data)]
        found, offset = [], 0
        for cut in cuts:
            (run.folder / "events.jsonl").write_bytes(data[:cut])
            events, offset = run.events(offset)
            found += events
        assert (found, offset) == (whole, end)


def test_followers_of_a_killed_run_are_told_its_end():
    run = at_work(started())
    watch = Watch()
    following = run.follow(watch)
    os.kill(run.pid, signal.SIGKILL)
    following.join(30)
    assert (watch.events[-1].status, watch.events[-1].step) == ("failed", 3)
    assert "signal 9" in watch.events[-1].reason


def test_a_view_that_raises_is_dropped_loudly_and_the_others_go_on(caplog):
    class Faulty:
        def update(self, events):
            raise LookupError("no such curve")

    run = at_work(started())
    watch = Watch()
    following = run.follow(Faulty(), watch)
    run.stop().wait(30)
    following.join(30)
    assert isinstance(watch.events[-1], Ended)
    assert [str(error) for error in following.errors] == ["no such curve"]
    assert caplog.text.count("is followed no more") == 1
    assert "LookupError: no such curve" in caplog.text


def test_waiting_gives_up_after_its_time_and_says_the_status():
    run = at_work(started())
    assert run.wait(0.01) == "running"
    with pytest.raises(RunError, match="never started"):
        Run.create(RunConfig()).wait()


def test_a_trainer_that_cannot_be_started_is_told(monkeypatch):
    monkeypatch.setattr(plain, "TRAINER", ("/nowhere/python",))
    run = Run.create(RunConfig())
    with pytest.raises(RunError, match=r"(?s)no trainer could be started.*/nowhere/python"):
        run.start()
    assert run.status == "created"


def refused_on_a_full_disk(code):
    """Whether `code` raises RunError in a process that may write no file over 100 bytes."""
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from ftlab.config import RunConfig; from ftlab.errors import RunError; from ftlab.run import Run\n"
        f"try: {code}\nexcept RunError as error: print('refused:', error)"
    )
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, check=True)
    return done.stdout.startswith("refused:")


def test_a_full_disk_leaves_no_half_written_run(own_home):
    assert refused_on_a_full_disk("Run.create(RunConfig())")
    assert runs() == []
    assert list((own_home / "runs").iterdir()) == []


def test_a_disk_that_fills_while_starting_leaves_a_run_that_can_be_started():
    run = Run.create(RunConfig(trainer={"act": "finish"}))
    assert refused_on_a_full_disk(f"Run.open({run.name!r}).start()")
    assert run.status == "created"
    assert run.start().wait(30) == "finished"


def test_a_run_whose_folder_is_removed_is_told_as_broken():
    run = started("finish")
    run.wait(30)
    shutil.rmtree(run.folder)
    assert run.status == "failed"
    assert "broken" in run.reason
    assert run.events() == ([], 0)
