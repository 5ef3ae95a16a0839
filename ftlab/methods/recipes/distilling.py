"""Learning from a teacher: from the start itself behind a system prompt, or from another model."""

import sys
import time
from typing import Any

from ftlab import data
from ftlab.errors import ConfigError, DataError, ModelError
from ftlab.methods import asked, start, teaching
from ftlab.methods.asked import Prompt
from ftlab.methods.context_distillation import ContextDistillation
from ftlab.methods.distillation import GKD, Distillation, MiniLLM, SequenceLevel
from ftlab.methods.projected import IGNORE
from ftlab.methods.recipes.recipe import Note
from ftlab.methods.recipes.taught import PROMPT, Taught, left_out, rooms_for, wrote
from ftlab.methods.teaching import KeptOdds, Teacher

TEACHER_IDS = "teacher_ids"
"""Column that is there until the teacher has answered: the prompt's ids as the teacher reads them."""


class ContextDistillationRecipe(Taught):
    """The teacher is the start with the context before each prompt, asked once, before training; so it never changes.

    Where a prompt has a system message of its own, the teacher reads the context before it and the student reads
    the prompt as it is: what the rows demand is still demanded of both.
    """

    @property
    def method(self) -> ContextDistillation:
        assert isinstance(self.config.method, ContextDistillation)
        return self.config.method

    def check(self, begin: start.Start) -> None:  # noqa: ARG002
        if not self.method.context.strip():
            raise ConfigError("method.context: it is empty; write the system prompt that is to be learned")
        if self.method.answers > 1 and self.method.temperature == 0:
            raise ConfigError(
                f"method.answers: at temperature 0 all {self.method.answers} answers to a prompt are the same; "
                "set it to 1, or raise method.temperature"
            )
        if self.method.keep_if_better is not None:
            _check_reward(self.method.keep_if_better)

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        """Prompts, once for each answer that will be drawn; their own answers are not learned from."""
        read = asked.read(rows)
        bare = data.opening_ids(read.prompts, tokenizer)
        behind = [asked.with_context(prompt, self.method.context) for prompt in read.prompts]
        told = data.opening_ids(behind, tokenizer)
        limit = self.config.data.max_length
        kept = [row for row, ids in enumerate(bare) if len(ids) < limit for _ in range(self.method.answers)]
        columns: dict[str, list[Any]] = {
            "input_ids": [bare[row] for row in kept],
            "labels": [[IGNORE] * len(bare[row]) for row in kept],
            TEACHER_IDS: [told[row] for row in kept],
            PROMPT: [read.prompts[row] for row in kept],
        }
        return data.Columns(columns, left_out(len(kept) // self.method.answers, rows, limit))

    def learned_from(self, columns: data.Columns, model: Any, tokenizer: Any, note: Note) -> data.Columns:
        """The teacher's answers behind the bare prompts, and where their odds are kept."""
        began = time.monotonic()
        self.sets += 1
        bare, told = columns.data["input_ids"], columns.data[TEACHER_IDS]
        rooms = rooms_for(self.method.max_new_tokens, self.config.data.max_length, model, bare, told)
        options: dict[str, Any] = {
            "rooms": rooms,
            "temperature": self.method.temperature,
            "name": f"set {self.sets}",
        }
        answers = self.draw(model, tokenizer, told, **options)
        notes = [*columns.notes, wrote("the teacher", answers, rooms, tokenizer, time.monotonic() - began)]
        kept = list(range(len(answers)))
        if self.method.keep_if_better is not None and self.sets == 1:  # what is evaluated on stays as it is
            plain = self.draw(model, tokenizer, bare, **options)
            kept = _better(
                self.method.keep_if_better, columns.data[PROMPT], answers, plain, tokenizer, notes, note
            )
        rows = {
            "input_ids": [bare[row] + answers[row] for row in kept],
            "labels": [[IGNORE] * len(bare[row]) + answers[row] for row in kept],
        }
        if self.method.loss == "kl":
            teaching.make_quick(model, self.hardware)
            rows["place"] = self._kept.ask(model, [told[row] for row in kept], [answers[row] for row in kept])
            each = "all" if self.method.top is None else self.method.top
            notes.append(
                f"the odds before {sum(len(answers[row]) for row in kept):,} answer tokens are kept ({each} of each): "
                f"{self._kept.mib:.1f} MiB in all"
            )
        return data.Columns(rows, notes)

    @property
    def _kept(self) -> KeptOdds:
        if not hasattr(self, "_odds"):
            self._odds = KeptOdds(self.method.top, head="stays" if self.freezes else "learns")
        return self._odds

    def trainer_class(self) -> Any:
        if self.method.loss == "sft":
            return super().trainer_class()
        from ftlab.methods.distilled import DistillingTrainer

        return DistillingTrainer

    def options(self) -> dict[str, Any]:
        if self.method.loss == "sft":
            return super().options()
        from ftlab.methods.distilled import FromKept

        return {
            "aim": FromKept(self._kept),
            "longest": self.method.max_new_tokens,
            "max_length": self.config.data.max_length,
        }


class DistillationRecipe(Taught):
    """The teacher is another model, in memory once and frozen.

    Rows that lack an answer get the teacher's, drawn at temperature 1, where an objective reads the data's answers.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._found: start.Start | None = None
        self._reads_alike = True
        self._is_shared = False
        self._teacher: Any = None

    @property
    def method(self) -> Distillation:
        assert isinstance(self.config.method, Distillation)
        return self.config.method

    @property
    def is_by_sequence(self) -> bool:
        """Whether the teacher's text is all that is learned from."""
        return isinstance(self.method.objective, SequenceLevel)

    def check(self, begin: start.Start) -> None:
        """Raises ModelError for a teacher that cannot teach, ConfigError for one that this student can't follow."""
        try:
            teacher = start.find(self.method.teacher, _write)
        except ModelError as error:
            raise ModelError(f"method.teacher: {error}") from error
        theirs, ours = start.tokenizer_of(teacher), start.tokenizer_of(begin)
        self._found, self._reads_alike = teacher, theirs.get_vocab() == ours.get_vocab()
        if not self._reads_alike and not self.is_by_sequence:
            raise ConfigError(
                f"method.teacher: {teacher.reference} has another tokenizer ({len(theirs):,} tokens) than "
                f"{begin.reference} ({len(ours):,}), and the objective {self.method.objective.kind!r} compares odds "
                'token by token; set method.objective to "sequence", which learns from the teacher\'s text, or take '
                "a teacher of the same family"
            )
        self._is_shared = (
            self.low_rank is not None
            and begin.adapter is None
            and teacher.adapter is None
            and begin.sha256 == teacher.sha256
        )

    def render(self, rows: data.Rows, tokenizer: Any) -> data.Columns:
        """The rows' own answers where they have some and the objective reads them, else the bare prompts."""
        read, limit = asked.read(rows), self.config.data.max_length
        openings = data.opening_ids(read.prompts, tokenizer)
        own = {
            index: row
            for index, row in enumerate(read.answered)
            if row is not None and not self.is_by_sequence
        }
        columns: dict[str, list[Any]] = {"input_ids": [], "labels": [], "prompt_tokens": [], PROMPT: []}
        notes: list[str] = []
        rendered = self._rendered(own, rows, tokenizer, notes)
        for index, (prompt, opening) in enumerate(zip(read.prompts, openings, strict=True)):
            if len(opening) >= limit:
                continue
            ids, labels = rendered.get(index, (opening, [IGNORE] * len(opening)))
            for name, value in zip(columns, (ids, labels, len(opening), prompt), strict=True):
                columns[name].append(value)
        return data.Columns(columns, notes + left_out(len(columns[PROMPT]), rows, limit))

    def _rendered(
        self, own: dict[int, data.Row], rows: data.Rows, tokenizer: Any, notes: list[str]
    ) -> dict[int, tuple[list[int], list[int]]]:
        """(ids, labels) of answered rows; one whose answer has no room within max_length is like one without."""
        found: dict[int, tuple[list[int], list[int]]] = {}
        if not own:
            return found
        columns = data.render(
            data.Rows(own.values(), rows.source if isinstance(rows, data.Rows) else "the dataset"),
            tokenizer,
            self.config.data.mask,
            None,
        )
        limit = self.config.data.max_length
        cut = 0
        for index, ids, labels in zip(own, columns.data["input_ids"], columns.data["labels"], strict=True):
            if any(label != IGNORE for label in labels[1:limit]):
                cut += len(ids) > limit
                found[index] = (ids[:limit], labels[:limit])
        notes += columns.notes
        if cut:
            notes.append(f"{cut} of {len(rows)} rows were cut at {limit} tokens")
        return found

    def learned_from(self, columns: data.Columns, model: Any, tokenizer: Any, note: Note) -> data.Columns:
        """The same with the teacher's answers where some are read and none are there."""
        self.sets += 1
        teacher = self._teacher_beside(model, tokenizer, note)
        bare = [
            row
            for row, labels in enumerate(columns.data["labels"])
            if all(label == IGNORE for label in labels)
        ]
        notes = list(columns.notes)
        rows = {name: list(columns.data[name]) for name in ("input_ids", "labels", "prompt_tokens")}
        if bare and (self._reads_answers or self.sets > 1):
            self._answer(columns, rows, bare, teacher, tokenizer, notes)
        if self.is_by_sequence:
            del rows["prompt_tokens"]
        return data.Columns(rows, notes)

    @property
    def _reads_answers(self) -> bool:
        """Whether training sees answers that are there before it."""
        match self.method.objective:
            case GKD(on_policy=share):
                return share < 1
            case MiniLLM():
                return False
        return True

    def _answer(
        self,
        columns: data.Columns,
        rows: dict[str, list[Any]],
        bare: list[int],
        teacher: Any,
        tokenizer: Any,
        notes: list[str],
    ) -> None:
        """Puts the teacher's answers behind the prompts that have none."""
        began = time.monotonic()
        objective = self.method.objective
        prompts: list[Prompt] = [columns.data[PROMPT][row] for row in bare]
        ours = [columns.data["input_ids"][row] for row in bare]
        assert self._found is not None
        own = tokenizer if self._reads_alike else start.tokenizer_of(self._found)
        theirs = ours if self._reads_alike else data.opening_ids(prompts, own)
        rooms = rooms_for(self.method.max_new_tokens, self.config.data.max_length, teacher, ours, theirs)
        temperature = objective.temperature if isinstance(objective, SequenceLevel) else 1.0
        answers = self.draw(
            teacher, own, theirs, rooms=rooms, temperature=temperature, name=f"set {self.sets}"
        )
        notes.append(wrote(self.method.teacher, answers, rooms, own, time.monotonic() - began))
        if not self._reads_alike:
            answers = self._in_own_words(prompts, ours, answers, own, tokenizer, notes)
        for row, prompt, answer in zip(bare, ours, answers, strict=True):
            rows["input_ids"][row] = prompt + answer
            rows["labels"][row] = [IGNORE] * len(prompt) + answer
        silent = [row for row, answer in zip(bare, answers, strict=True) if not answer]
        for row in reversed(silent):
            for column in rows.values():
                del column[row]

    def _in_own_words(
        self,
        prompts: list[Prompt],
        ours: list[list[int]],
        answers: list[list[int]],
        theirs: Any,
        tokenizer: Any,
        notes: list[str],
    ) -> list[list[int]]:
        """The teacher's text in the student's tokens; nothing where the teacher said nothing."""
        texts = theirs.batch_decode(answers, skip_special_tokens=True)
        said = [
            asked.answered_by(prompt, text.strip() or "?")
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        columns = data.render(said, tokenizer, "completion", None)
        limit = self.config.data.max_length
        cut = sum(len(ids) > limit for ids in columns.data["input_ids"])
        notes.append(f"its answers are read in the student's own tokens; {cut} of them were cut at {limit}")
        silent = sum(not text.strip() for text in texts)
        if silent:
            notes.append(f"{silent} of its answers were empty and are left out")
        return [
            ids[len(prompt) : limit] if text.strip() else []
            for ids, prompt, text in zip(columns.data["input_ids"], ours, texts, strict=True)
        ]

    def _teacher_beside(self, model: Any, tokenizer: Any, note: Note) -> Any:
        """The teacher's model: read once, or the student's own base before there is an adapter on it."""
        if self._is_shared:
            if self.sets == 1:
                note("the teacher is the base that the adapter stands on: it takes no memory of its own")
            return model
        if self._teacher is None:
            from ftlab.methods import hardware

            assert self._found is not None
            config = self.config
            chosen = hardware.choose(config.device, config.threads, self._found.parameters, frozen=True)
            own = tokenizer if self._reads_alike else start.tokenizer_of(self._found)
            self._teacher = teaching.load(self._found, chosen, own)
        return self._teacher

    def trainer_class(self) -> Any:
        if self.is_by_sequence:
            return super().trainer_class()
        from ftlab.methods.distilled import DistillingTrainer

        return DistillingTrainer

    def options(self) -> dict[str, Any]:
        if self.is_by_sequence:
            self._teacher = None  # it has said all that is learned from
            return super().options()
        from ftlab.methods.distilled import FromTeacher

        objective = self.method.objective
        assert not isinstance(objective, SequenceLevel)
        return {
            "aim": FromTeacher(objective, Teacher(self._teacher), self.config.seed),
            "longest": self.method.max_new_tokens,
            "max_length": self.config.data.max_length,
        }


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # log.txt


def _check_reward(reference: str) -> None:
    from ftlab.models import references

    try:
        source = references.fetch(references.resolve(reference))
    except ModelError as error:
        raise ModelError(f"method.keep_if_better: {error}") from error
    if not references.is_reward_model(source):
        raise ModelError(
            f"method.keep_if_better: {reference} is no reward model: it gives no scores; train one with "
            'RunConfig(method="reward") and name it as "run:NAME", or leave the field out'
        )


def _better(
    reference: str,
    prompts: list[Prompt],
    answers: list[list[int]],
    plain: list[list[int]],
    tokenizer: Any,
    notes: list[str],
    note: Note,
) -> list[int]:
    """The rows whose answer the reward model scores above the one without the context (Llama 2, section 4.2.4)."""
    from ftlab.models.rewards import load_reward

    judge = load_reward(reference, note)
    scores = [
        judge.scores([(prompt, text) for prompt, text in zip(prompts, _texts(some, tokenizer), strict=True)])
        for some in (answers, plain)
    ]
    kept = [row for row, (ours, bare) in enumerate(zip(*scores, strict=True)) if ours > bare]
    if not kept:
        raise DataError(
            f"method.keep_if_better: {reference} scores none of the {len(answers)} answers with the context above "
            "the bare one; change the context, or leave the filter out"
        )
    notes.append(
        f"{len(kept)} of {len(answers)} answers are learned from: {reference} scores them above the bare ones"
    )
    return kept


def _texts(answers: list[list[int]], tokenizer: Any) -> list[str]:
    return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]
