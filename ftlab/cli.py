"""The shell's way in: `ftlab COMMAND`, a thin skin over the same functions that a cell calls."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlab.errors import FtlabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 for an error that was explained, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except (FtlabError, FileExistsError) as error:
        print(f"ftlab: {_printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (`| head`) has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def train(options: argparse.Namespace) -> int:
    from ftlab.run import Run

    return _begin(Run.create(_config(options)), options)


def eject(options: argparse.Namespace) -> int:
    from ftlab.scripts import eject as write

    text = write(_config(options), options.output)
    print(text if options.output is None else options.output)
    return 0


def preflight(options: argparse.Namespace) -> int:
    """0 where nothing speaks against starting the run."""
    from ftlab.preflight import check

    found = check(_config(options), probe=options.probe)
    print(json.dumps(found.to_dict()) if options.json else _printable(str(found)))
    return 0 if found.ready else 1


def clone(options: argparse.Namespace) -> int:
    """Without --start or --queue the new run is only created."""
    warm = {None: False, "result": True}.get(options.warm, options.warm)
    if isinstance(warm, str):
        if not warm.isdecimal():
            raise FtlabError(f"--warm {warm}: it is the step of a checkpoint, or nothing for the result")
        warm = int(warm)
    run = _run(options.run).clone(dict(_pair(item) for item in options.set), warm=warm)
    print(f"{run.name}, a clone of {run.origin.run}")
    for path, (was, now) in run.origin.changes.items():
        print(f"  {path}: {json.dumps(was)} -> {json.dumps(now)}")
    return _begin(run, options) if options.start or options.queue else 0


def show_queue(options: argparse.Namespace) -> int:
    """Who waits, in order; with --slots also changes how many train at once."""
    from ftlab.run import queued, slots

    number = slots(options.slots)
    for place, run in enumerate(queued(), 1):
        print(f"{place:3} {run.name}")
    print(f"{number} at once" if number > 1 else "one after the other")
    return 0


def delete(options: argparse.Namespace) -> int:
    for name in options.run:
        _run(name).delete()
        print(f"{name}: deleted")
    return 0


def list_runs(options: argparse.Namespace) -> int:
    from ftlab.run import runs

    rows = [{"name": run.name, "status": run.status, "reason": run.reason} for run in runs()]
    if options.json:
        print(json.dumps(rows))
    for row in [] if options.json else rows:
        print(f"{row['name']:32} {row['status']:10} {row['reason']}")
    return 0


def follow(options: argparse.Namespace) -> int:
    return _follow(_run(options.run))


def stop(options: argparse.Namespace) -> int:
    run = _run(options.run)
    run.stop()
    # one that waited for its turn is taken out of the line, and never began
    print(f"{run.name}: {'created' if run.status == 'created' else run.wait()}")
    return 0


def resume(options: argparse.Namespace) -> int:
    return _follow(_run(options.run).resume())


def ask(options: argparse.Namespace) -> int:
    from ftlab.answers import Sampling, compare

    sampling = Sampling(options.max_new_tokens, options.temperature, 1.0, options.seed)
    comparison = compare([options.prompt], options.models, sampling)
    for reference, answer in comparison.answers[0].items():
        print(f"── {reference} · {answer.fingerprint.heading} · {answer.finish}\n{_printable(answer.text)}\n")
    return 0


def export_ratings(options: argparse.Namespace) -> int:
    from ftlab.ratings import Ratings

    asked = (
        "kind",
        "batch",
        "upto",
        "aggregate",
        "min_strength",
        "kinds",
        "implicit_prompt",
        "standard",
        "split",
    )
    with Ratings(options.store) as ratings:
        print(
            _printable(
                str(ratings.export(options.output, **{name: getattr(options, name) for name in asked}))
            )
        )
    return 0


def import_ratings(options: argparse.Namespace) -> int:
    from ftlab.ratings import Ratings

    fields = dict(_pair(item) for item in options.field)
    asked = ("batch", "format", "skip_bad", "rater", "kind")
    with Ratings(options.store) as ratings:
        found = ratings.import_(
            options.file, fields=fields, **{name: getattr(options, name) for name in asked}
        )
    print(_printable(str(found)))
    return 0


def check_ratings(options: argparse.Namespace) -> int:
    """The store's own hashes, or with a folder those of an export."""
    from ftlab.ratings import Ratings
    from ftlab.ratings.exchange.export import check

    if options.exported is not None:
        problems = check(options.exported)
        print(_printable("\n".join(problems) or f"{options.exported}: every file is as it was exported"))
        return int(bool(problems))
    with Ratings(options.store) as ratings:
        found = ratings.verify()
    print(_printable(str(found)))
    return 0 if found else 1


def show_board(options: argparse.Namespace) -> int:
    from ftlab.ratings import Ratings

    with Ratings(options.store) as ratings:
        print(_printable(str(ratings.board(options.batch))))
    return 0


def backup_ratings(options: argparse.Namespace) -> int:
    from ftlab.ratings import Ratings

    with Ratings(options.store) as ratings:
        print(ratings.backup(options.output))
    return 0


def rescue_ratings(options: argparse.Namespace) -> int:
    from ftlab.home import home
    from ftlab.ratings.storage.rescue import rescue

    print(_printable(str(rescue(options.store or home() / "ratings.db", options.output))))
    return 0


def check_data(options: argparse.Namespace) -> int:
    """0 where a run would take the rows as they are."""
    from ftlab.data import examine

    report = examine(
        options.file,
        tokenizer=options.model,
        evaluation=options.eval,
        max_length=options.max_length,
        mask=options.mask,
        method=options.method,
    )
    if options.json:
        print(json.dumps(report.to_rows()))
    else:
        print(_printable(str(report)))
    if options.mend is not None:
        told = sys.stderr if options.json else sys.stdout
        print(_printable("\n".join(report.mended(options.mend))), file=told)
    return 0 if report.is_fit else 1


def run_notebook(options: argparse.Namespace) -> int:
    from ftlab.notebook import chapters, execute, to_html

    path = chapters().get(options.notebook, Path(options.notebook))
    output = options.output or Path("build") / path.name
    done = execute(path, output, dict(_pair(item) for item in options.parameter))
    print(f"{done.output}: {done.ran} of {done.cells} code cells ran")
    if options.html:
        print(to_html(done.output, done.output.with_suffix(".html")))
    if done.error:
        print(f"ftlab: {done.error}", file=sys.stderr)
    return 0 if done.complete else 1


def demo(options: argparse.Namespace) -> int:
    from ftlab.notebook import chapters, execute, to_html

    out = options.out.resolve()
    report = out / "tour.json"
    parameters = {"model": options.model, "report": str(report)}
    print(f"The tour on {options.model}, headless; about a minute and a half on two cores …", flush=True)
    environment = {"FTLAB_HOME": str(out / "home")}
    done = execute(chapters()["00_tour"], out / "tour.ipynb", parameters, environment=environment)
    page = to_html(done.output, out / "tour.html")
    if not done.complete:
        print(f"ftlab: {done.error}; see {page}", file=sys.stderr)
        return 1
    print(json.loads(report.read_text(encoding="utf-8"))["table"])
    print(f"notebook  {done.output}\npage      {page}")
    return 0


def bench(options: argparse.Namespace) -> int:
    from ftlab import bench as benches

    if options.name is None:
        for name, each in benches.BENCHES.items():
            bars = ", ".join(f"{figure} {sign} {bar:g}" for figure, (sign, bar) in each.bars.items())
            print(f"{name:10} {each.about}\n{'':10} {bars}")
        return 0
    missed = False
    for name in benches.BENCHES if options.name == "all" else [options.name]:
        line = benches.run(name)
        shortfalls = line.pop("missed")
        if options.json:
            print(json.dumps(line), flush=True)
        else:
            print(name, *(f"{key}={value}" for key, value in line["figures"].items()), sep="\n  ")
        for sentence in shortfalls:
            print(f"ftlab: bench {name}: {sentence}", file=sys.stderr)
        missed = missed or bool(shortfalls)
    return int(missed)


def _parser() -> argparse.ArgumentParser:
    from ftlab import __version__

    parser = argparse.ArgumentParser(
        "ftlab", description="A fine-tuning lab: compare, rate, train, look again."
    )
    parser.add_argument("--version", action="version", version=f"ftlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(command=function)
        return added

    sub = command("train", train, "train what a YAML file describes")
    _add_config(sub)
    sub.add_argument("--detach", action="store_true", help="return at once; the run goes on")
    sub.add_argument("--queue", action="store_true", help="wait in line for the trainings before it")
    sub = command("eject", eject, "the TRL/PEFT script that does the same run, without ftlab")
    _add_config(sub)
    sub.add_argument("-o", "--output", type=Path, default=None, help="save it there, its rows beside it")
    sub = command("check", preflight, "what a run would take, and what speaks against it; trains nothing")
    _add_config(sub)
    sub.add_argument(
        "--no-probe", dest="probe", action="store_false", help="estimate instead of trying a few steps"
    )
    sub.add_argument("--json", action="store_true", help="findings and figures as one line of JSON")
    sub = command("clone", clone, "the same run again with some settings changed, or from its result")
    sub.add_argument("run", help="a run's name, see `ftlab runs`")
    sub.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="e.g. method.rank=4")
    sub.add_argument(
        "--warm", nargs="?", const="result", metavar="STEP", help="from its result, or this checkpoint of it"
    )
    sub.add_argument("--start", action="store_true", help="begin at once")
    sub.add_argument("--queue", action="store_true", help="wait in line for the trainings before it")
    sub.add_argument("--detach", action="store_true", help="return at once; the run goes on")
    sub = command("queue", show_queue, "who waits for a training to end")
    sub.add_argument("--slots", type=int, default=None, help="how many train at once")
    sub = command("delete", delete, "remove ended runs with all that they saved")
    sub.add_argument("run", nargs="+")
    sub = command("runs", list_runs, "list runs, newest first")
    sub.add_argument("--json", action="store_true")
    for name, function, about in (
        ("follow", follow, "print what a run measures until it ends"),
        ("stop", stop, "let a run finish its step, save and end"),
        ("resume", resume, "go on from the newest whole checkpoint"),
    ):
        command(name, function, about).add_argument("run", help="a run's name, see `ftlab runs`")
    sub = command("ask", ask, "one prompt, several models, side by side")
    sub.add_argument("prompt")
    sub.add_argument(
        "models",
        nargs="+",
        help="wren, smollm2, a folder, a hub id, run:NAME, a blend (0.7*run:a + -0.5*run:b) or prompt:NAME",
    )
    sub.add_argument("--temperature", type=float, default=0.7)
    sub.add_argument("--max-new-tokens", type=int, default=64)
    sub.add_argument("--seed", type=int, default=0)
    _add_ratings(command("ratings", export_ratings, "export, import, check, read or back up ratings"))
    _add_data(command("data", check_data, "look at a dataset before it is trained on"))
    sub = command("notebook", run_notebook, "run a notebook headless, with parameters")
    sub.add_argument("notebook", help="a chapter such as 00_tour, or a path")
    sub.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
    sub.add_argument("-o", "--output", type=Path, default=None)
    sub.add_argument("--html", action="store_true", help="write a web page beside it")
    sub = command("demo", demo, "the tour headless: a table, a notebook and a web page")
    sub.add_argument("--model", default="wren")
    sub.add_argument("--out", type=Path, default=Path("build"))
    sub = command("bench", bench, "list the benches, or run one (or all)")
    sub.add_argument("name", nargs="?")
    sub.add_argument("--json", action="store_true", help="one line of JSON a bench")
    return parser


def _add_data(group: argparse.ArgumentParser) -> None:
    actions = group.add_subparsers(required=True, metavar="ACTION")
    about = "everything that is wrong with a dataset, with its rows and how to mend it"
    sub = actions.add_parser("check", help=about, description=about)
    sub.set_defaults(command=check_data)
    sub.add_argument("file", help='a .jsonl, .json or .parquet file, or "wren:NAME"')
    sub.add_argument("--model", default=None, help="whose tokens are counted; default: none are")
    sub.add_argument("--eval", default=None, metavar="FILE", help="rows that must not have been trained on")
    sub.add_argument(
        "--mend", type=Path, default=None, metavar="OUT", help="write the rows, mended where it is safe"
    )
    sub.add_argument("--method", default=None, help="the method they are meant for, such as sft or dpo")
    sub.add_argument("--max-length", type=int, default=512, help="longest row in tokens")
    sub.add_argument("--mask", choices=("completion", "assistant", "all"), default="assistant")
    sub.add_argument("--json", action="store_true", help="the findings as one line of JSON")


def _add_config(sub: argparse.ArgumentParser) -> None:
    """What describes a run, as every command takes it."""
    sub.add_argument("config", type=Path, nargs="?", default=None, help="a YAML file; default: the defaults")
    sub.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="e.g. method.rank=4")


def _add_ratings(group: argparse.ArgumentParser) -> None:
    actions = group.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, function: Any, about: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=about, description=about)
        added.set_defaults(command=function)
        added.add_argument("--store", default=None, help="a file or database address; default: your own")
        return added

    sub = action("export", export_ratings, "write a dataset that TRL reads, with its card and manifest")
    sub.add_argument("output", type=Path, help="a .jsonl or .parquet file")
    kinds = ("preference", "unpaired", "sft", "reward", "raw")
    sub.add_argument("--kind", choices=kinds, default="preference", help="raw: the whole log, for import")
    sub.add_argument("--batch", default=None, help="default: all")
    sub.add_argument(
        "--upto", type=int, default=None, metavar="EVENT", help="the log as it was at this event"
    )
    sub.add_argument("--aggregate", choices=("majority", "all", "unanimous"), default="majority")
    sub.add_argument(
        "--min-strength", type=int, default=None, metavar="0..3", help="weaker ones are left out"
    )
    sub.add_argument("--kinds", nargs="+", default=None, help="kinds of raters, such as person judge")
    sub.add_argument("--implicit-prompt", action="store_true", help="the prompt inside chosen and rejected")
    sub.add_argument("--standard", action="store_true", help="plain text instead of messages")
    sub.add_argument(
        "--split", type=float, default=None, metavar="SHARE", help="so many test rows, by prompt"
    )
    sub = action("import", import_ratings, "take what was rated elsewhere, or an export with --kind raw")
    sub.add_argument("file", type=Path, help=".jsonl, .json, .parquet or .csv")
    sub.add_argument("--batch", default="imported")
    sub.add_argument("--format", default=None, help="default: recognised")
    sub.add_argument(
        "--skip-bad", action="store_true", help="take what can be read, write the rest to a file"
    )
    sub.add_argument("--rater", default=None, help="name for opinions whose source names nobody")
    sub.add_argument("--kind", default=None, help="what that rater is: person, replay, judge or simulated")
    sub.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="which fields hold what, as in prompt=question, 'answers=[a, b]', scale=10, 'words={Best: up}'",
    )
    sub = action("check", check_ratings, "compute every hash of the log again, or those of an export")
    sub.add_argument("exported", nargs="?", type=Path, default=None, help="a folder with a manifest.json")
    sub = action("board", show_board, "agreement, ranking and biases of a batch; names the models")
    sub.add_argument("batch")
    sub = action("backup", backup_ratings, "copy the store while others may write")
    sub.add_argument("output", type=Path)
    sub = action("rescue", rescue_ratings, "save every row of a damaged store that can be read")
    sub.add_argument("output", nargs="?", type=Path, default=None)


def _config(options: argparse.Namespace) -> Any:
    """The file's configuration, or the defaults, with what `--set` says."""
    from ftlab.config import RunConfig

    start = RunConfig() if options.config is None else RunConfig.from_yaml(options.config)
    return start.with_(dict(_pair(item) for item in options.set))


def _pair(item: str) -> tuple[str, Any]:
    """`path=value`, the value read as YAML, so that 3 is a number and null is nothing."""
    import yaml

    name, sign, text = item.partition("=")
    if not sign or not name:
        raise FtlabError(f"{item!r} is not NAME=VALUE")
    return name, yaml.safe_load(text)


def _begin(run: Any, options: argparse.Namespace) -> int:
    if options.queue:
        run.enqueue()
        place = run.position
        print(f"{run.name} waits, number {place} in line" if place else f"{run.name} begins")
        return 0
    run.start()
    print(f"started {run.name}; `ftlab stop {run.name}` stops it")
    return 0 if options.detach else _follow(run)


def _run(name: str) -> Any:
    from ftlab.run import Run

    return Run.open(name)


def _follow(run: Any) -> int:
    from ftlab.events import Ended, Evaluated, Measured, Noted

    class Printer:
        def update(self, events: Sequence[Any]) -> None:
            for event in events:
                if isinstance(event, Measured | Evaluated):
                    numbers = "  ".join(
                        f"{key} {value:.5g}" for key, value in event.values.items() if value is not None
                    )
                    print(f"step {event.step:6}  {numbers}", flush=True)
                elif isinstance(event, Noted):
                    print(f"{event.level}: {event.text}", flush=True)
                elif isinstance(event, Ended):
                    print(f"{event.status} at step {event.step}. {event.reason}", flush=True)

    thread = run.follow(Printer())
    status = run.wait()
    thread.join()
    return 0 if status in ("finished", "stopped") else 1


def _printable(text: str) -> str:
    """Model text for a terminal: control characters are shown, not obeyed."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
