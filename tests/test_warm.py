"""The warm process: one for each home, started by whoever comes first, gone when nobody needs it."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ftlab import warm
from ftlab.answers import Sampling, compare
from ftlab.errors import RunError
from ftlab.home import home
from ftlab.process import Process
from ftlab.run import EXIT, Run, launch, runs
from ftlab.warm import place
from tests.methods import conftest as methods
from tests.test_run import at_work

HERE = Path(__file__).parent


@pytest.fixture
def bare(monkeypatch):
    """Warm processes load nothing, so that each test can have its own; what is left of them is ended."""
    monkeypatch.setattr(warm, "SERVER", (sys.executable, str(HERE / "bare_warm.py")))
    yield
    for run in runs():
        if process := run._process():
            process.kill()
    warm.stop()


def wait_until(condition):
    """Until another process has got there; the test's own time limit ends it."""
    while not condition():
        os.sched_yield()


def replies(**message):
    return list(warm.request({"do": "answer", **message}))


def answerer():
    return replies()[0]["pid"]


def test_the_first_request_starts_a_process_and_the_next_finds_it(bare):
    assert warm.running() is None
    first = answerer()
    process = warm.running()
    assert answerer() == first
    assert warm.running() == process


def test_two_clients_at_once_start_one_process(bare):
    code = (
        "import sys; from ftlab import warm\n"
        f"warm.SERVER = (sys.executable, {str(HERE / 'bare_warm.py')!r})\n"
        "sys.stdin.readline()\n"
        "print(next(iter(warm.request({'do': 'answer'})))['pid'], warm.running().pid)"
    )
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for client in clients:
        client.stdin.write("\n")
        client.stdin.flush()
    said = {client.communicate()[0] for client in clients}
    assert len(said) == 1
    assert int(said.pop().split()[1]) == warm.running().pid


def test_the_socket_is_for_its_owner_only(bare):
    warm.warm()
    where = warm.own_place()
    for path in (where.socket, where.log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert where.socket.parent == home()


def test_it_ends_by_itself_after_the_idle_time(bare):
    warm.warm(idle_seconds=0.2)
    process = warm.running()
    wait_until(lambda: not process.alive)
    assert not warm.own_place().socket.exists()
    assert answerer()


def test_it_does_not_end_while_somebody_waits_or_trains(bare, tmp_path):
    warm.warm(idle_seconds=0.05)
    process = warm.running()
    held = warm.request({"do": "answer", "act": "hold", "mark": str(tmp_path / "mark")})
    next(held)
    run = at_work(launch(trainer={"act": "hold"}))
    held.close()
    wait_until((tmp_path / "mark").exists)
    assert run.stop().wait(30) == "stopped"
    wait_until(lambda: not process.alive)
    assert (run.folder / EXIT).is_file()


def test_it_ends_when_its_home_is_gone(bare, own_home):
    warm.warm()
    process = warm.running()
    shutil.rmtree(own_home)
    wait_until(lambda: not process.alive)


def test_closing_the_connection_cancels_the_answer(bare, tmp_path):
    held = warm.request({"do": "answer", "act": "hold", "mark": str(tmp_path / "mark")})
    next(held)
    assert not (tmp_path / "mark").exists()
    held.close()
    wait_until((tmp_path / "mark").exists)


def test_answers_do_not_wait_for_each_other(bare, tmp_path):
    held = warm.request({"do": "answer", "act": "hold", "mark": str(tmp_path / "mark")})
    first = next(held)
    assert replies()[0] == first
    held.close()


def test_long_messages_and_foreign_text_arrive_whole(bare):
    text = "Ü\u2028\n" * 300_000
    assert replies(act="echo", text=text)[1:] == [{"echo": text}, {"end": True}]


def test_a_failing_answer_is_the_askers_business_alone(bare):
    pid = answerer()
    assert replies(act="fail")[-1] == {"error": "no such model", "kind": "LookupError"}
    assert answerer() == pid


def test_a_dying_answerer_is_told_and_replaced(bare):
    pid = answerer()
    with pytest.raises(RunError, match="has ended .killed, or out of memory.*ask again"):
        replies(act="die")
    assert answerer() != pid


def test_each_check_has_a_process_of_its_own_and_takes_a_request_of_any_length(bare):
    one, two = (next(iter(warm.request({"do": "check", "text": "x" * 300_000}))) for _ in range(2))
    assert one["size"] == 300_000
    assert one["pid"] != two["pid"]
    assert {one["pid"], two["pid"]} & {answerer(), warm.running().pid} == set()


def test_a_check_that_nobody_waits_for_any_more_ends(bare):
    asked = warm.request({"do": "check", "act": "hold"})
    process = Process.of(next(asked)["pid"])
    asked.close()
    wait_until(lambda: not process.alive)
    assert warm.running() is not None


def test_a_check_that_dies_is_told(bare):
    with pytest.raises(RunError, match="has ended"):
        list(warm.request({"do": "check", "act": "die"}))
    assert answerer()


def test_a_check_without_a_warm_process_is_a_process_as_well(monkeypatch, tiny):
    monkeypatch.setenv("FTLAB_WARM", "off")
    config = {"model": str(tiny), "data": "/nowhere/rows.jsonl"}
    *told, last = warm.request({"do": "check", "config": config, "probe": False})
    assert [reply["finding"]["field"] for reply in told] == ["data.train"]
    assert last == {"end": True}


def test_the_answerer_ends_with_its_warm_process(bare):
    pid = answerer()
    child = Process.of(pid)
    run = at_work(launch(trainer={"act": "hold"}))  # a child that was forked meanwhile must not keep it alive
    os.kill(warm.running().pid, signal.SIGKILL)
    wait_until(lambda: not child.alive)
    assert run.status == "running"


def test_a_killed_warm_process_leaves_its_trainers_running_and_their_end_is_found(bare):
    going, dying = at_work(launch(trainer={"act": "hold"})), at_work(launch(trainer={"act": "hold"}))
    process = warm.running()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.alive)
    assert going.status == "running"
    assert going.stop().wait(30) == "stopped"
    os.kill(dying.pid, signal.SIGKILL)
    assert dying.wait(30) == "failed"
    assert "and so did its parent" in dying.reason
    assert launch(trainer={"act": "finish"}).wait(30) == "finished"


def test_a_trainer_has_its_own_session_no_input_and_its_output_in_the_log(bare):
    run = at_work(launch(trainer={"act": "hold"}))
    assert os.getsid(run.pid) == run.pid
    assert str(Path(f"/proc/{run.pid}/fd/0").readlink()) == os.devnull
    assert Path(f"/proc/{run.pid}/cwd").readlink() == run.folder
    assert (run.folder / "log.txt").read_text() == "the trainer begins\n"
    held = [str(path.readlink()) for path in Path(f"/proc/{run.pid}/fd").iterdir()]
    assert [name for name in held if name.startswith(("socket:", "pipe:"))] == []
    assert run.stop().wait(30) == "stopped"
    wait_until((run.folder / EXIT).is_file)
    assert json.loads((run.folder / EXIT).read_text())["code"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_outlives_the_kernel_that_started_its_warm_process(bare, number):
    code = (
        "import sys; from ftlab import warm; from ftlab.run import launch\n"
        f"warm.SERVER = (sys.executable, {str(HERE / 'bare_warm.py')!r})\n"
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
    assert run.status == "running"
    assert warm.running().alive
    assert run.stop().wait(30) == "stopped"


def test_stopping_the_warm_process_leaves_trainers_and_their_end_is_recorded(bare):
    run = at_work(launch(trainer={"act": "hold"}))
    process = warm.running()
    warm.stop()
    assert warm.running() is None
    assert run.stop().wait(30) == "stopped"
    wait_until(lambda: not process.alive)
    assert (run.folder / EXIT).is_file()


def test_a_run_that_cannot_be_recorded_is_not_trained(bare, tmp_path):
    last = list(warm.request({"do": "train", "dir": str(tmp_path / "none")}))[-1]
    assert last["kind"] == "FileNotFoundError"
    assert answerer()


def test_a_process_that_fails_to_load_is_told_with_the_end_of_its_log(monkeypatch):
    monkeypatch.setattr(warm, "SERVER", (sys.executable, "-c", "raise ImportError('no libtorch here')"))
    with pytest.raises(RunError, match=r"(?s)ended before it was ready.*no libtorch here.*FTLAB_WARM=off"):
        replies()


def test_a_process_that_never_gets_ready_is_told_with_the_end_of_its_log(monkeypatch):
    script = "print('still loading', flush=True); import signal; signal.pause()"
    monkeypatch.setattr(warm, "SERVER", (sys.executable, "-c", script))
    started = []
    spawn = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **named: started.append(spawn(*args, **named)) or started[0]
    )
    with pytest.raises(RunError, match=r"(?s)not ready after 1 s.*still loading"):
        list(warm.request({"do": "answer"}, timeout=1))
    started[0].kill()
    started[0].wait()


def test_a_socket_without_a_process_is_replaced(bare):
    answerer()
    process = warm.running()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.alive)
    assert warm.own_place().socket.exists()
    assert answerer()


def test_another_environment_gets_another_process(bare, monkeypatch):
    one = warm.own_place()
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    assert warm.own_place().socket != one.socket


def test_a_changed_package_gets_another_process(monkeypatch, tmp_path):
    copy = tmp_path / "ftlab"
    shutil.copytree(HERE.parent / "ftlab", copy, ignore=shutil.ignore_patterns("static", "*.safetensors"))
    monkeypatch.setattr(place, "__file__", str(copy / "warm" / "place.py"))
    one = warm.own_place()
    assert warm.own_place() == one
    (copy / "methods" / "sft.py").write_text("# other\n")
    assert warm.own_place() != one


def test_a_home_too_long_for_a_socket_gets_a_private_folder(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("FTLAB_HOME", str(tmp_path / ("long" * 30)))
    assert answerer()
    folder = warm.own_place().folder
    assert folder.is_relative_to(tempfile.gettempdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with pytest.raises(RunError, match="not a private folder"):
        warm.own_place()
    folder.chmod(0o700)
    warm.stop()
    shutil.rmtree(folder)


@pytest.mark.parametrize(("name", "value"), [("FTLAB_WARM", "maybe"), ("FTLAB_WARM_IDLE", "soon")])
def test_a_setting_that_makes_no_sense_is_told(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=f"{name} is '{value}'"):
        warm.warm()


def test_the_client_loads_nothing_heavy():
    code = "import sys; import ftlab.warm; print(sorted({'torch', 'pydantic', 'psutil', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


tiny = methods.tiny


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A home whose warm process has the real libraries; loading them takes seconds, so it is shared."""
    folder = tmp_path_factory.mktemp("lab")
    yield folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTLAB_HOME", str(folder))
        warm.stop()


@pytest.fixture
def train(lab, tiny, monkeypatch):
    """`train(max_steps=3, …)` launches a real run of a tiny model."""
    monkeypatch.setenv("FTLAB_HOME", str(lab))
    rows = lab / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in methods.sft_rows(64)), encoding="utf-8")
    fields = {"model": str(tiny), "data": str(rows), "batch_size": 8, "threads": 1, "device": "cpu"}
    return lambda **more: launch(**fields | more)


def losses(run):
    return [row["loss"] for row in run.metrics() if "loss" in row]


def test_forks_train_and_answer_on_several_threads_and_the_parent_stays_with_one(train, tiny):
    first = train(max_steps=3, threads=2)
    assert first.wait(60) == "finished", first.reason
    one, two = (compare(["hi ok"], [str(tiny), first.reference], Sampling(8)) for _ in range(2))
    assert [[answer.text for answer in row.values()] for row in one.answers] == [
        [answer.text for answer in row.values()] for row in two.answers
    ]
    second = train(max_steps=3, threads=2)
    assert second.wait(60) == "finished", second.reason
    assert len(losses(first)) == 3
    assert losses(first) == losses(second)
    assert first.events()[0][0].settings["threads"] == 2
    assert len(list(Path(f"/proc/{warm.running().pid}/task").iterdir())) == 1
    assert "1 thread(s)" in warm.own_place().log.read_text()


def test_without_a_warm_process_the_same_run_gives_the_same_figures(train, monkeypatch):
    warmed = train(max_steps=3)
    assert warmed.wait(60) == "finished", warmed.reason
    monkeypatch.setenv("FTLAB_WARM", "off")
    plain = train(max_steps=3)
    assert plain.wait(60) == "finished", plain.reason
    assert losses(plain) == losses(warmed)
    wait_until((plain.folder / EXIT).is_file)
    assert json.loads((plain.folder / EXIT).read_text())["code"] == 0


def test_a_real_trainer_stops_within_a_step_and_is_resumed_to_the_same_end(train):
    whole = train(max_steps=30)
    stopped = at_work(train(max_steps=30))
    stopped.stop()
    assert stopped.wait(60) == "stopped", stopped.reason
    assert len(losses(stopped)) < 30
    assert stopped.resume().wait(60) == "finished", stopped.reason
    assert whole.wait(60) == "finished"
    assert losses(stopped) == losses(whole)


def test_a_real_trainer_that_is_killed_fails_with_the_reason(train):
    run = at_work(train(max_steps=100_000))
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == "failed"
    assert "killed by signal 9" in run.reason


def test_what_the_trainer_cannot_do_is_told_as_the_runs_reason(train):
    run = train(model="/nowhere/model")
    assert run.wait(60) == "failed"
    assert "/nowhere/model" in run.reason
