"""The dataset card: what a stranger must know of exported ratings before training on them, as Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ftlab.ratings.opinions import ONE_ORDER

Entry = Mapping[str, Any]

MADE = "Made by ftlab from an append-only log of ratings."
"""In every card: a file without it is somebody else's."""

_UNSTATED = "not stated"

_PURPOSE = {
    "preference": "preferences: of two answers to a prompt, the one that was preferred (TRL: DPOTrainer)",
    "reward": "preferences with margins, for reward models (TRL: RewardTrainer)",
    "unpaired": "single answers marked good or bad (TRL: KTOTrainer)",
    "sft": "demonstrations: answers that raters wrote or liked (TRL: SFTTrainer)",
    "raw": "the log itself, every table: every event, who was shown what, the tasks and their answers",
}

_MEANINGS = {
    "repeat": "a second rating of a task by the same rater, asked to see how steady the rater is",
    "gold": "a rating of a task with a known answer, asked to see how careful the rater is",
    "undone": "taken back by the rater",
    "skipped": "the rater skipped the task",
    "flagged": "the rater flagged the task instead of rating it",
    "tie": "neither answer was preferred",
    "both_bad": "both answers were bad",
    "weak": "the preference is below the least strength that was asked for",
    "split": "as many raters preferred one answer as the other",
    "not unanimous": "the raters disagree, and unanimity was asked for",
    "other kind of rater": "another kind of rater was counted (persons outrank simulated ones, these judges)",
    "empty answer": "an answer is empty or blank",
    "empty prompt": "the prompt is empty or blank",
    "unchanged": "the rater left the answer as it was",
    "not ranked": "neither of the two answers was ranked (only the best were)",
    "neutral": "the middle of the scale",
    "said after the models were shown": "the rater was not blind any more",
    ONE_ORDER: "in the other order it gave none, so that nothing tells it from the side",
    "chosen is unsafe, the other safe": "as Llama 2 left them out",
}


def text(files: Mapping[str, Entry], manifest_hash: str) -> str:
    """README.md for the folder of an export, with the header that dataset hubs and `datasets` read."""
    parts = ["---", *_header(files), "---", "", "# Ratings of language models' answers", ""]
    made = (
        f"{MADE} `manifest.json` beside this file holds every figure below in machine-readable form; its sha256 "
        f"is `{manifest_hash}`."
    )
    parts += [made, ""]
    for names, entry in _groups(files):
        parts += [f"## {', '.join(names)}", "", *_section(names, files, entry), ""]
    parts += ["## Known biases and limits", "", *_limits(files), ""]
    return "\n".join(parts)


def _groups(files: Mapping[str, Entry]) -> list[tuple[list[str], Entry]]:
    """Files of one export together: those that differ in bytes and rows alone."""
    groups: dict[str, tuple[list[str], Entry]] = {}
    for name, entry in sorted(files.items()):
        own = {key: value for key, value in entry.items() if key not in ("sha256", "bytes", "rows")}
        key = json.dumps([own, None if "split" in entry else name], sort_keys=True)
        groups.setdefault(key, ([], entry))[0].append(name)
    return list(groups.values())


def _header(files: Mapping[str, Entry]) -> Iterator[str]:
    licences = {
        batch["settings"].get("licence") or ""
        for entry in files.values()
        for batch in entry.get("batches", {}).values()
        if isinstance(batch.get("settings"), dict)
    }
    one = licences.pop() if len(licences) == 1 else ""  # several, or some not stated: none holds for all
    yield f"license: {json.dumps(one)}" if one else "license: unknown"
    yield "pretty_name: Ratings of language models' answers"
    yield "tags:"
    yield from ("- ftlab", "- trl", "- human-feedback")
    yield "configs:"
    taken: set[str] = set()
    for names, entry in _groups(files):
        stem, suffix = names[0].rsplit(".", 1)
        config = stem.removesuffix("-test") if "split" in entry else stem
        # a folder may hold p.jsonl, p.parquet and p.jsonl split in two
        config = next(
            one
            for one in (config, f"{config}-{suffix}", f"{config}-{suffix}-split", names[0])
            if one not in taken
        )
        taken.add(config)
        yield f"- config_name: {json.dumps(config)}"
        yield "  data_files:"
        for name in sorted(names, reverse=True):  # train before test
            part = "test" if "split" in entry and name.rsplit(".", 1)[0].endswith("-test") else "train"
            yield f"  - split: {part}"
            yield f"    path: {json.dumps(name)}"


def _section(names: list[str], files: Mapping[str, Entry], entry: Entry) -> Iterator[str]:
    kind = entry.get("kind", "preference")
    yield _sentence(_PURPOSE.get(kind) or str(kind))
    yield ""
    yield "| File | Rows | sha256 |"
    yield "|---|---|---|"
    for name in names:
        yield f"| `{name}` | {files[name]['rows']} | `{files[name]['sha256']}` |"
    yield ""
    last = entry.get("last_event") or {}
    said = f", stored {last['server_utc']}, hash `{last['row_hash']}`" if last else ""
    yield f"- **State of the log:** up to event {entry['seq']}{said}."
    if kind == "raw":
        yield (
            "- **Personal data:** raters' ids, the names they were given and their comments are in this file as they "
            "were stored. Look through them before passing it on."
        )
    else:
        yield from _rows_of(entry)
    yield from _people(entry)
    yield from _agreement(entry)
    yield from _leanings(entry)
    yield from _excluded(entry)
    yield from _instructions(entry)
    yield f"- **Versions:** ftlab {entry.get('ftlab')}, schema {entry.get('schema')}."


def _rows_of(entry: Entry) -> Iterator[str]:
    yield (
        f"- **Rows:** {entry.get('format', 'conversational')} format, {entry.get('prompt', 'explicit')} prompt; "
        f"raters of one task brought together by `{entry['aggregate']}`; least strength {entry['min_strength']} "
        "(0 negligibly, 1 slightly, 2 clearly, 3 significantly better). Disagreement is the column `agreement`."
    )
    if "split" in entry:
        yield (
            f"- **Split:** {entry['split']:g} for the test file, by a hash of the prompt without case, spaces and "
            "punctuation (of a conversation: of the user's first message), so that like prompts are on one side."
        )
    yield (
        "- **Personal data:** no rater's id or name and no comment is in the rows. Prompts and answers are as "
        "they were stored: nothing was searched for or removed."
    )


def _people(entry: Entry) -> Iterator[str]:
    raters = entry.get("raters") or {}
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(raters.items()))
    yield f"- **Raters:** {listed or 'none'}; {entry.get('ratings', 0)} ratings of {entry.get('tasks', 0)} tasks."
    if "replay" in raters:
        yield "  A `replay` repeats what was said elsewhere: a recording, or a dataset that was imported."
    settings = _settings(entry)
    for name, title in (("recruitment", "Recruitment"), ("consent", "Consent"), ("licence", "Licence")):
        told = [str(each.get(name) or "").strip() for each in settings]
        words = list(map(_inline, sorted(set(told) - {""})))
        silent = told.count("")
        if words and silent:
            words.append(f"{_UNSTATED} for {silent} of {len(told)} batches")
        yield f"- **{title}:** {'; '.join(words) or _UNSTATED}."
    models = entry.get("models") or []
    yield f"- **Answers by:** {', '.join(map(_inline, models)) or _UNSTATED}."
    orders = sorted({str(each.get("order") or "given") for each in settings})
    yield (
        "- **Sampling:** prompts and answers as they were added; order of the tasks: "
        f"{', '.join(orders) or 'given'}. How they were chosen before that: {_UNSTATED}."
    )
    yield (
        "- **Sides:** decided by a keyed hash of task, rater and repeat before anything was shown, and stored; "
        "raters are shown no model's name before they answer, but where an answer itself tells one. What they said "
        "after the names were shown is left out."
        if entry.get("kind") != "raw"
        else "- **Sides:** decided by a keyed hash of task, rater and repeat before anything was shown, and stored; "
        "what was said after the models' names were shown has `post_reveal` 1."
    )
    imported = sorted(name for name, batch in (entry.get("batches") or {}).items() if batch.get("imported"))
    if imported:
        yield (
            f"- **Imported:** batch {', '.join(map(_inline, imported))} holds opinions that were given elsewhere, where "
            "sides were not recorded: the sides stored here were never shown, and the share of the left one "
            "says nothing about them."
        )


def _settings(entry: Entry) -> list[Mapping[str, Any]]:
    found = [batch.get("settings") for batch in (entry.get("batches") or {}).values()]
    return [settings for settings in found if isinstance(settings, dict)]


def _agreement(entry: Entry) -> Iterator[str]:
    tasks, shared = entry.get("tasks", 0), entry.get("tasks_with_two_raters_or_more", 0)
    share = f" ({shared / tasks:.1%})" if tasks else ""
    yield f"- **Overlap:** {shared} of {tasks} tasks{share} were rated by two persons or more."
    found = entry.get("agreement")
    if not found or not any(row["n"] for row in found):
        yield "- **Agreement between persons:** undefined: no two persons rated the same thing on one scale."
        return
    from ftlab.ratings.analysis.agreement import CEILINGS

    yield "- **Agreement between persons** (95 % bootstrap intervals over tasks):"
    yield ""
    yield "  | Figure | Value | Interval | n |"
    yield "  |---|---|---|---|"
    for row in found:
        value = row["reason"] if row["value"] is None else f"{row['value']:.3f}"
        low, high = row["low"], row["high"]
        between = row["reason"] if row["value"] is not None else ""
        if low is not None and high is not None:
            between = f"{low:.3f} to {high:.3f}"
        yield f"  | {row['name']} | {value} | {between} | {row['n']} |"
    yield ""
    yield "  What people reach elsewhere, on tasks of their own:"
    yield ""
    for ceiling in CEILINGS:
        yield f"  - {ceiling.name}, {ceiling.measure}: {ceiling.source}"
    yield ""


def _leanings(entry: Entry) -> Iterator[str]:
    left, decisive = entry.get("left_share"), entry.get("decisive", 0)
    if left is None:
        yield "- **Side:** undefined: no rating prefers one of two answers."
    else:
        imported = any(batch.get("imported") for batch in (entry.get("batches") or {}).values())
        unseen = ", the imported ones, whose sides were never shown, among them" if imported else ""
        yield f"- **Side:** the left answer was preferred in {left:.1%} of {decisive} decisive ratings{unseen}."
    length = entry.get("length")
    if length:
        value = length["reason"] if length["value"] is None else f"{length['value']:.3f}"
        interval = (
            f" [{length['low']:.3f}, {length['high']:.3f}]"
            if length["low"] is not None and length["high"] is not None
            else ""
        )
        yield (
            f"- **Length:** {value}{interval}, the coefficient of (a - b) / (a + b) in characters in a logistic fit "
            f"of preferring a over b, ties as halves, tasks as clusters (n = {length['n']}); above 0, longer answers "
            "are preferred."
        )


def _excluded(entry: Entry) -> Iterator[str]:
    excluded = entry.get("excluded") or {}
    if not excluded:
        yield "- **Left out:** nothing."
        return
    yield "- **Left out:**"
    yield ""
    for reason, count in sorted(excluded.items()):
        meaning = _MEANINGS.get(reason)
        yield f"  - {count} {reason}{f': {meaning}' if meaning else ''}"
    yield ""


def _instructions(entry: Entry) -> Iterator[str]:
    for name, batch in sorted((entry.get("batches") or {}).items()):
        yield f"- **Batch {_inline(name)}**, mode {batch.get('mode', 'pair')}. Instructions to the raters:"
        yield ""
        for version, instructions in sorted(
            batch.get("instructions", {}).items(), key=lambda each: int(each[0])
        ):
            yield f"  Version {version}:"
            yield ""
            yield from _fenced(instructions or "(none)")
            yield ""


def _fenced(instructions: str) -> Iterator[str]:
    """As they are, whatever they hold: the fence is longer than any run of backticks inside."""
    longest = max(
        (len(run) for run in "".join(c if c == "`" else " " for c in instructions).split()), default=0
    )
    fence = "`" * max(3, longest + 1)
    yield f"  {fence}text"
    yield from (f"  {line}" for line in instructions.split("\n"))
    yield f"  {fence}"


def _inline(words: str) -> str:
    """One line, with nothing that Markdown or HTML would obey."""
    plain = " ".join(words.split())
    return "".join(f"&#{ord(c)};" if c in "<>&|[]`*_\\" else c for c in plain)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _limits(files: Mapping[str, Entry]) -> Iterator[str]:
    kinds = {kind for entry in files.values() for kind in entry.get("raters") or {}}
    yield "- Preferences are those of the raters named above, under the instructions named above, and of no one else."
    yield "- Raters tend to prefer longer and better-looking answers; see **Length** for how much they did here."
    yield "- What is left out is not random: ties and close calls are missing from preferences."
    if kinds - {"person"}:
        others = ", ".join(sorted(kinds - {"person"}))
        yield f"- Not only persons rated ({others}): judges and simulated raters repeat their own biases."
    yield "- Nobody has checked the truth of the answers."
