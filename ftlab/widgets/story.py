"""What a run's events add up to: a pure fold, so that any batching tells the same story."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ftlab.events import Ended, Evaluated, Event, Measured, Noted, Sampled, Saved, Started
from ftlab.widgets.curve import Curve

NOTES = 50
TEXTS = 60  # samples kept for a prompt; beyond that every second one goes, the first and the last stay


@dataclass(frozen=True)
class Metric:
    """How a figure is drawn: the panel that it shares with others, its name there and its unit."""

    panel: str
    label: str
    unit: str


# Rewards are implicit, beta times a difference of log-likelihoods, hence nats (Rafailov et al. 2023, eq. 5).
METRICS = {
    "loss": Metric("Loss", "training", "nats"),
    "rewards/margins": Metric("Rewards", "margin", "nats"),
    "rewards/chosen": Metric("Rewards", "chosen", "nats"),
    "rewards/rejected": Metric("Rewards", "rejected", "nats"),
    "rewards/accuracies": Metric("Preferred the chosen", "training", "of pairs"),
    "logps/chosen": Metric("Log-likelihood", "chosen", "nats"),
    "logps/rejected": Metric("Log-likelihood", "rejected", "nats"),
    "kl": Metric("Distance to the teacher", "KL(teacher, student)", "nats per token"),
    "reverse_kl": Metric("Distance to the teacher", "KL(student, teacher)", "nats per token"),
    "label_loss": Metric("Cross-entropy", "with the answers learned from", "nats per token"),
    "on_policy": Metric("From the student's own answers", "batches", "of batches"),
    "answer_tokens": Metric("Length of answers", "training", "tokens"),
    "drawn_rank": Metric("Rank drawn", "rank", ""),
    "margin": Metric("Scores", "margin", ""),
    "mean_reward": Metric("Scores", "mean", ""),
    "min_reward": Metric("Scores", "least", ""),
    "max_reward": Metric("Scores", "greatest", ""),
    "accuracy": Metric("Token accuracy", "training", "of tokens"),
    "entropy": Metric("Entropy", "training", "nats per token"),
    "learning_rate": Metric("Learning rate", "learning rate", ""),
    "grad_norm": Metric("Gradient norm", "before clipping", ""),
    "tokens_per_second": Metric("Speed", "speed", "tokens/s"),
    "memory_mib": Metric("Memory", "memory", "MiB"),
}
_NOT_DRAWN = {"tokens", "epoch", "step", "total_flos"}
_BOOKKEEPING = ("runtime", "samples_per_second", "steps_per_second")  # the evaluation's own clock


@dataclass(frozen=True)
class Series:
    """One line, or row of marks, of the chart."""

    name: str
    label: str
    panel: str
    unit: str
    kind: Literal["line", "points"]
    curve: Curve


class Story:
    """The run so far; `add` takes the events in the order in which they were written."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], Series] = {}
        self._samples: dict[str, list[tuple[int, str]]] = {}
        self._notes: list[dict[str, Any]] = []
        self._started: Started | None = None
        self._first: tuple[float, int] | None = None  # time and step of this attempt's first figure
        self._latest: Measured | None = None
        self._seconds_before = 0.0  # of attempts that are over
        self._time = 0.0
        self._peak_memory: float | None = None
        self._evaluated: dict[int, float] = {}  # loss by step; NaN where it was not a number
        self.ended: Ended | None = None

    def add(self, event: Event) -> None:
        """Takes one event in."""
        match event:
            case Started():
                self._seconds_before = self.seconds
                self._started, self._first, self.ended = event, None, None
            case Measured():
                self._measure(event)
            case Evaluated():
                self._evaluate(event)
            case Sampled():
                self._sample(event)
            case Noted():
                self._notes = [*self._notes, {"level": event.level, "text": event.text}][-NOTES:]
            case Ended():
                self.ended = event
            case Saved():
                pass  # a checkpoint changes no picture
        self._time = max(self._time, event.time)

    @property
    def status(self) -> str:
        """What the events say; a process that died without a word is not seen from here."""
        if self.ended is not None:
            return self.ended.status
        return "running" if self._started is not None else "created"

    def series(self) -> list[Series]:
        """Training before evaluation; panels in the order of METRICS, unknown figures behind."""
        order = {metric.panel: place for place, metric in enumerate(METRICS.values())}
        return sorted(
            self._series.values(), key=lambda one: (order.get(one.panel, len(order)), one.kind == "points")
        )

    def progress(self) -> dict[str, Any]:
        """The figures of the status line; seconds are of training, all attempts together."""
        latest, started = self._latest, self._started
        values = latest.values if latest is not None else {}
        known: dict[str, Any] = {
            "step": latest.step if latest is not None else None,
            "total_steps": started.total_steps if started is not None else None,
            "epoch": latest.epoch if latest is not None else None,
            "seconds": self.seconds if started is not None else None,
            "eta_seconds": self._eta(),
            "tokens_per_second": values.get("tokens_per_second"),
            "memory_mib": values.get("memory_mib"),
            "peak_memory_mib": self._peak_memory,
            **self._best(),
        }
        return {name: value for name, value in known.items() if value is not None}

    def facts(self) -> dict[str, str]:
        """What was chosen, in words; the settings last, each under its own name."""
        if self._started is None:
            return {}
        row = asdict(self._started)
        share = 100 * row["trained"] / row["parameters"] if row["parameters"] else 0.0
        facts = {
            "device": str(row["device"]),
            "base weights": str(row["base"]),
            "parameters": f"{row['parameters']:,}, {row['trained']:,} of them trained ({share:.3g} %)",
            "training rows": f"{row['rows']:,}",
        }
        return facts | {name: plain(value) for name, value in row["settings"].items()}

    def samples(self) -> list[dict[str, Any]]:
        """The answers to each fixed prompt in order of step."""
        return [
            {"prompt": json.loads(prompt), "texts": [{"step": step, "text": text} for step, text in texts]}
            for prompt, texts in self._samples.items()
        ]

    def notes(self) -> list[dict[str, Any]]:
        """The latest notes, the last one last."""
        return list(self._notes)

    def _measure(self, event: Measured) -> None:
        for name, value in event.values.items():
            if name not in _NOT_DRAWN:
                self._curve(name, evaluated=False).add(event.step, value)
        if self._first is None or event.step <= self._first[1]:
            self._first = (event.time, event.step)
        self._latest = event
        memory = event.values.get("memory_mib")
        if memory is not None:
            self._peak_memory = max(self._peak_memory or 0.0, memory)

    def _best(self) -> dict[str, Any]:
        """Step and loss of the best evaluation, once there are two to choose from."""
        finite = {step: loss for step, loss in self._evaluated.items() if loss == loss}  # noqa: PLR0124 - not NaN
        if len(finite) < 2:
            return {}
        step = min(finite, key=finite.__getitem__)
        return {"best_step": step, "best_loss": finite[step]}

    def _evaluate(self, event: Evaluated) -> None:
        loss = event.values.get("loss", event.values.get("eval_loss"))
        # A resumed run does the steps behind its checkpoint again.
        self._evaluated = {step: value for step, value in self._evaluated.items() if step < event.step}
        self._evaluated[event.step] = float("nan") if loss is None else loss
        for name, value in event.values.items():
            short = name.removeprefix("eval_")
            if short not in _NOT_DRAWN and not short.endswith(_BOOKKEEPING):
                self._curve(short, evaluated=True).add(event.step, value)

    def _curve(self, name: str, *, evaluated: bool) -> Curve:
        key = (name, "evaluation" if evaluated else "training")
        if key not in self._series:
            metric = METRICS.get(name, Metric(name, name, ""))
            label = metric.label
            if evaluated:
                label = "evaluation" if label == "training" else f"{label}, evaluation"
            self._series[key] = Series(
                f"{'eval/' if evaluated else ''}{name}",
                label,
                metric.panel,
                metric.unit,
                "points" if evaluated else "line",
                Curve(),
            )
        return self._series[key].curve

    def _sample(self, event: Sampled) -> None:
        texts = self._samples.setdefault(json.dumps(event.prompt, sort_keys=True), [])
        while texts and texts[-1][0] >= event.step:  # done again by a resumed run
            texts.pop()
        texts.append((event.step, event.text))
        if len(texts) > TEXTS:
            del texts[1:-1:2]

    @property
    def seconds(self) -> float:
        """How long the run has trained, all attempts together."""
        if self._started is None:
            return 0.0
        return self._seconds_before + max(0.0, self._time - self._started.time)

    def _eta(self) -> float | None:
        """Seconds to go at this attempt's mean pace; None before the second figure and after the end."""
        if self._started is None or self._latest is None or self._first is None or self.ended is not None:
            return None
        done = self._latest.step - self._first[1]
        left = self._started.total_steps - self._latest.step
        if done <= 0 or left < 0:
            return None
        return left * (self._latest.time - self._first[0]) / done


def plain(value: object) -> str:
    """A setting as text; a mapping or list as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
