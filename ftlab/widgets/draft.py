"""A configuration that is being filled in: what was set so far, fit or not, and how a form shows it."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from ftlab.config import RunConfig, parse_yaml
from ftlab.errors import ConfigError
from ftlab.section import Section, sections_in
from ftlab.snippets import changed

Tree = dict[str, Any]

TITLES = {
    "sft": "SFT",
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dylora": "DyLoRA",
    "prompt_tuning": "Prompt tuning",
    "prefix_tuning": "Prefix tuning",
    "p_tuning": "P-tuning",
    "ia3": "IA³",
    "context_distillation": "Context distillation",
    "distillation": "Distillation",
    "dpo": "DPO",
    "reward": "Reward model",
}
"""Methods as people say them, in the order of the form."""

LABELS = {
    "model": "Model",
    "name": "Name of the run",
    "data.train": "Data",
    "data.eval": "Evaluation data",
    "trainer": "TRL settings",
    "learning_rate": "Learning rate, over the method's",
    "evaluate.every_steps": "Evaluate every … steps",
    "evaluate.max_new_tokens": "Longest answer",
    "evaluate.prompts": "Fixed prompts",
    "checkpoint.every_steps": "Save every … steps",
    "checkpoint.keep": "Checkpoints kept",
    "early_stopping.least": "Least gain",
    ".rslora": "rsLoRA",
    ".dora": "DoRA",
    ".plus": "LoRA+",
    ".neftune_alpha": "NEFTune alpha",
    ".adapter": "LoRA adapter",
    ".double_quantization": "Double quantization",
}
"""Labels of fields whose name would not do, by path, or with a leading dot by last name; others follow the name."""

FRONT = {
    "sft": ("learning_rate",),
    "lora": ("rank", "alpha", "targets", "learning_rate"),
    "qlora": ("rank", "alpha", "targets", "learning_rate"),
    "dylora": ("rank", "min_rank", "learning_rate"),
    "prompt_tuning": ("tokens", "start", "text", "learning_rate"),
    "prefix_tuning": ("tokens", "learning_rate"),
    "p_tuning": ("tokens", "encoder", "learning_rate"),
    "ia3": ("learning_rate",),
    "context_distillation": ("context", "loss", "learning_rate", "adapter"),
    "distillation": ("teacher", "learning_rate", "objective", "adapter"),
    "dpo": ("beta", "loss", "learning_rate", "adapter"),
    "reward": ("learning_rate", "adapter"),
}
"""What is shown unfolded of each method; the rest, and a method that is not named here, lies under "More"."""

_FIRST = ("model", "data.train")
_LAST = ("epochs", "batch_size", "name", "evaluate.prompts")
FOLDED = ("dropout", "rslora", "dora", "start", "plus")
"""What of an adapter inside a method lies folded; its own learning rate is not used there at all."""

_MACHINE = ("device", "threads", "trackers", "trainer")
_LOOKING = ("evaluate", "checkpoint", "early_stopping")


class Draft:
    """Values by dotted path. A value may be anything that was typed; `faults` says what does not fit."""

    def __init__(self, config: RunConfig | None = None) -> None:
        self.tree: Tree = {}
        self._laid_aside: dict[tuple[str, str], Tree] = {}
        self.take(config or RunConfig())

    def take(self, config: RunConfig) -> None:
        """Begins anew with what a configuration sets."""
        self._laid_aside.clear()
        self.tree = _spelled(changed(config))
        self._follow()

    @property
    def kind(self) -> str:
        """The method's."""
        return str(self.tree["method"]["kind"])

    @property
    def config(self) -> RunConfig:
        """Raises ConfigError, one line for each fault."""
        return RunConfig.from_dict(self._values())

    def faults(self) -> dict[str, str]:
        """{path: what is wrong}."""
        try:
            values = self._values()
        except ConfigError as error:
            return {"trainer": str(error)}
        return RunConfig.faults(values)

    def put(self, path: str, value: Any) -> None:
        """Sets one field; an empty text puts a number, or anything that may be left out, back to its default."""
        head, _, name = path.rpartition(".")
        inside = self._section(head)
        if inside is None:
            raise ConfigError(f"{path}: there is no such field in this form")
        section, tree = inside
        if name not in section.model_fields:
            raise ConfigError(
                f"{path}: there is no such field; {section.__name__} has {', '.join(section.model_fields)}"
            )
        field = section.model_fields[name]
        if isinstance(value, str) and not value.strip() and not _wants_text(field):
            tree.pop(name, None)
        else:
            tree[name] = value
        self._tidy()

    def drop(self, path: str) -> None:
        """Back to the default, a whole section too."""
        head, _, name = path.rpartition(".")
        if (inside := self._section(head)) is not None:
            inside[1].pop(name, None)
            self._tidy()

    def choose(self, path: str, kind: str) -> None:
        """Another member of a union, such as a method; what was set for the old one comes back with it."""
        head, _, name = path.rpartition(".")
        inside = self._section(head)
        if inside is None or kind not in _kinds(inside[0], name):
            raise ConfigError(f"{path}: there is no {kind!r} to choose")
        section, tree = inside
        field = section.model_fields[name]
        old = tree.get(name, {"kind": getattr(field.get_default(), "kind", kind)})
        self._laid_aside[path, old["kind"]] = old
        tree[name] = self._laid_aside.pop((path, kind), {"kind": kind})

    def defaults(self) -> Tree:
        """What holds where nothing is set, in the shape that the draft has now."""
        return _defaults(RunConfig, self.tree)

    def sheet(self) -> dict[str, Any]:
        """{front, groups: [{title, paths}], folded, unused}: where each field stands for this method, by path."""
        kind = self.kind
        method = _kinds(RunConfig, "method")[kind]
        own = [f"method.{name}" for name in method.model_fields if name != "kind"]
        needed = [f"method.{name}" for name, field in method.model_fields.items() if field.is_required()]
        chosen = [f"method.{name}" for name in FRONT.get(kind, ()) if name in method.model_fields]
        front = [*_FIRST, *dict.fromkeys([*needed, *chosen]), *_LAST]
        data = _expanded("data")
        looking = [path for name in _LOOKING for path in _expanded(name)]
        machine = list(_MACHINE)
        rest = [
            name for name in RunConfig.model_fields if name not in {"method", "data", *_LOOKING, *_MACHINE}
        ]
        groups = {
            TITLES.get(kind, kind): own,
            "Data": data,
            "Training": rest,
            "Looking and saving": looking,
            "Machine": machine,
        }
        return {
            "folded": [f"method.adapter.{name}" for name in FOLDED],
            "unused": ["method.adapter.learning_rate"],
            "front": front,
            "groups": [
                {"title": title, "paths": kept}
                for title, paths in groups.items()
                if (kept := [path for path in paths if path not in front])
            ],
        }

    def _values(self) -> Tree:
        """What `RunConfig` takes. Raises ConfigError where the text of `trainer` is no YAML."""
        values = dict(self.tree)
        if isinstance(written := values.get("trainer"), str):
            read = parse_yaml(written, "YAML")
            values["trainer"] = {} if read is None else read
        if data := values.pop("data", None):
            # a section of which anything is set no longer follows the method by itself
            values["data"] = {"train": self.defaults()["data"]["train"], **data}
        return values

    def _tidy(self) -> None:
        """What fits is kept as the configuration has it: numbers as numbers, and nothing that is a default."""
        if not self.faults():
            written = self.tree.get("trainer")
            self.tree = _spelled(changed(self.config))
            self._follow()
            if isinstance(written, str) and "trainer" in self.tree:
                self.tree["trainer"] = written

    def _follow(self) -> None:
        """Rows that are the method's own are left to follow it, should another one be chosen."""
        data = self.tree.get("data", {})
        if data.get("train") == self.defaults()["data"]["train"]:
            del data["train"]
        if not data:
            self.tree.pop("data", None)

    def _section(self, path: str) -> tuple[type[Section], Tree] | None:
        """The section at this path as it is chosen now, and its place in the tree, made where it was missing."""
        section: type[Section] = RunConfig
        tree = self.tree
        for name in path.split(".") if path else []:
            if name not in section.model_fields:
                return None
            field, found = section.model_fields[name], tree.get(name)
            inner = _chosen(field, found)
            if inner is None:
                return None
            if not isinstance(found, dict):
                tree[name] = (
                    {"kind": inner.model_fields["kind"].default}
                    if len(sections_in(field.annotation)) > 1
                    else {}
                )
            section, tree = inner, tree[name]
        return section, tree


def methods() -> list[dict[str, str]]:
    """[{kind, title, about}], in the order of the form."""
    kinds = _kinds(RunConfig, "method")
    return [
        {"kind": kind, "title": TITLES.get(kind, kind), "about": (section.__doc__ or "").strip()}
        for kind, section in kinds.items()
    ]


def _spelled(tree: Mapping[str, Any]) -> Tree:
    """Sections that stand as their main field alone written out, so that every path leads somewhere."""
    whole = dict(tree)
    for name, field in RunConfig.model_fields.items():
        if isinstance(whole.get(name), str) and sections_in(field.annotation):
            whole[name] = {"train" if name == "data" else "kind": whole[name]}
    method = whole["method"] = dict(whole["method"])
    if isinstance(method.get("objective"), str):
        method["objective"] = {"kind": method["objective"]}
    if whole.get("trainer"):
        import yaml

        whole["trainer"] = yaml.safe_dump(whole["trainer"], sort_keys=False, allow_unicode=True)
    return whole


def _kinds(section: type[Section], name: str) -> dict[str, type[Section]]:
    """{kind: section} of a union; empty for any other field."""
    if name not in section.model_fields:
        return {}
    members = sections_in(section.model_fields[name].annotation)
    return {one.model_fields["kind"].default: one for one in members if "kind" in one.model_fields}


def _chosen(field: FieldInfo, value: Any) -> type[Section] | None:
    """Which section a field holds now; None where it holds none."""
    members = sections_in(field.annotation)
    if len(members) > 1:
        kind = value.get("kind") if isinstance(value, dict) else getattr(field.get_default(), "kind", None)
        return next((one for one in members if one.model_fields["kind"].default == kind), members[0])
    if not members or (type(None) in get_args(field.annotation) and not isinstance(value, dict)):
        return None
    return members[0]


def _defaults(section: type[Section], tree: Tree) -> Tree:
    values: Tree = {}
    so_far: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        found = tree.get(name)
        inner = _chosen(field, found)
        if inner is None:
            values[name] = None if field.is_required() else field.get_default()
            continue
        values[name] = _defaults(inner, found if isinstance(found, dict) else {})
        so_far[name] = inner.model_construct()
        if field.default_factory is not None:  # a method brings its own rows
            own = field.get_default(call_default_factory=True, validated_data=so_far)
            values[name] |= own.model_dump(mode="json")
    return values


def _expanded(name: str) -> list[str]:
    """A plain section's fields; the path itself for one that may be absent."""
    field = RunConfig.model_fields[name]
    if type(None) in get_args(field.annotation):
        return [name]
    return [f"{name}.{inner}" for inner in sections_in(field.annotation)[0].model_fields]


def _wants_text(field: FieldInfo) -> bool:
    """Whether an empty text is a value of its own here, good or bad."""
    if field.annotation is str:
        return field.is_required() or field.get_default() != ""
    return False
