"""What a trainer is handed, token by token: the row, what the template makes of it, and which of it is learned."""

import threading
from collections.abc import Sequence
from html import escape
from math import exp
from pathlib import Path
from typing import Any

import traitlets

from ftlab.data import IGNORE, Columns, Mask, Row, Rows, load_tokenizer, packed, read, recognise, render
from ftlab.data.packing import groups_of
from ftlab.data.ribbon import Ribbon, ribbons
from ftlab.errors import ConfigError, DataError
from ftlab.scoring import token_scores
from ftlab.widgets.presence import Presence
from ftlab.widgets.widget import LabWidget, is_live

MASKS = ("completion", "assistant", "all")
SHOWN = 3000  # tokens on one page; a browser draws no more of them at once
TWIN_ROWS = 3
REMEMBERED = 500  # rows whose losses are kept
MANY = 5000  # rows that take seconds to pack
LEAST, MOST = 2, 1_048_576  # of max_length


class Tokens(LabWidget):
    """`Tokens("wren:sft", model="wren")`: row by row, exactly the columns that a run of these settings learns from.

    data: rows of the embedded world, a file, or rows; preferences show both answers. mask, max_length, packing: as in
    RunConfig.data. losses: ask the model for each token's loss as soon as a page shows it (it costs a forward
    pass in another process); else a button does.
    """

    stem = "tokens"

    source = traitlets.Unicode("").tag(sync=True)
    model = traitlets.Unicode("").tag(sync=True)
    """Whose tokenizer and template write the rows, and whose losses are shown."""
    count = traitlets.Int(0).tag(sync=True)
    """Pages: rows, or packed rows."""
    at = traitlets.Int(0).tag(sync=True)
    """The page shown, from 0."""
    mask = traitlets.Unicode("assistant").tag(sync=True)
    max_length = traitlets.Int(512).tag(sync=True)
    """In tokens."""
    packing = traitlets.Bool(False).tag(sync=True)
    can_pack = traitlets.Bool(True).tag(sync=True)
    """False for preferences, which no mask and no packing changes."""
    parts: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """[{row, label, ids, texts, trained, template, kept, note, hidden}]: what stands on the page, one behind the other;
    `trained` and `template` are texts of 0 and 1, a digit a token; `hidden` counts tokens beyond what is drawn."""
    told = traitlets.Unicode("").tag(sync=True)
    """What of the page is learned, in words."""
    wants_losses = traitlets.Bool(False).tag(sync=True)
    losses: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """For each part {losses: [nats or null], candidates: [[[text, probability], …]]}, or none while there are none."""
    note = traitlets.Unicode("").tag(sync=True)
    """What takes its time."""

    _score = staticmethod(token_scores)  # the one seam: whoever answers

    def __init__(
        self,
        data: str | Path | Sequence[Row] = "wren:sft",
        model: str = "wren",
        *,
        mask: Mask = "assistant",
        max_length: int = 512,
        packing: bool = False,
        losses: bool = False,
    ) -> None:
        rows = read(data) if isinstance(data, str | Path) else Rows(data, getattr(data, "source", "rows"))
        if not rows:
            raise DataError(f"{rows.source}: no rows to show")
        self._rows = rows
        self._tokenizer = load_tokenizer(model)
        self._packed: dict[tuple[str, int], tuple[Columns, list[list[int]]]] = {}
        self._scored: dict[tuple[int, ...], dict[str, Any]] = {}
        self._presence = Presence()
        self._asked = 0  # of the newest question for losses: an older answer is kept and not shown
        super().__init__(
            source=rows.source,
            model=model,
            can_pack=recognise(rows[0], rows.place(0)) != "preference",
            wants_losses=losses,
        )
        self.show(0, mask=mask, max_length=max_length, packing=packing)

    def show(
        self,
        at: int | None = None,
        *,
        mask: str | None = None,
        max_length: int | None = None,
        packing: bool | None = None,
    ) -> None:
        """Turns to a page (from 0), with other settings where they are given. Raises ConfigError for wrong ones."""
        mask = self.mask if mask is None else mask
        max_length = self.max_length if max_length is None else max_length
        packing = self.packing if packing is None else packing
        _check(mask, max_length, packing and not self.can_pack)
        with self._lock:
            ribbons_, count, at = self._page(self.at if at is None else at, mask, max_length, packing)
            with self._together():
                self.mask, self.max_length, self.packing = mask, max_length, packing
                self.count, self.at = count, at
                self.parts = [_drawn(ribbon) for ribbon in ribbons_]
                self.told = _told(ribbons_)
                self._ribbons = ribbons_
                self.error = ""
                self._show_losses()
            if self.wants_losses and is_live():
                self._ask()

    @property
    def columns(self) -> dict[str, list[int]]:
        """`input_ids`, `labels` and, packed, `seq_lengths` of this page, as the trainer gets them.

        Raises DataError where the trainer gets nothing of the page: its row is dropped, or is a preference.
        """
        if not self.can_pack:
            raise DataError("a preference has no labels: see ftlab.data.render_preferences")
        kept = [ribbon for ribbon in self._ribbons if ribbon.kept]
        if not kept:
            raise DataError(f"{self._ribbons[0].note}: the trainer gets nothing of it")
        if not self.packing:
            return {"input_ids": kept[0].ids[: kept[0].kept], "labels": kept[0].labels[: kept[0].kept]}
        columns, _ = self._packed[self.mask, self.max_length]
        return {name: column[self.at] for name, column in columns.data.items()}

    def _page(self, at: int, mask: str, max_length: int, packing: bool) -> tuple[list[Ribbon], int, int]:
        """(ribbons, pages, the page that this is)."""
        if not packing:
            at = min(max(0, at), len(self._rows) - 1)
            return ribbons(self._rows, at, self._tokenizer, mask, max_length), len(self._rows), at  # type: ignore[arg-type]
        _, groups = self._groups(mask, max_length)
        at = min(max(0, at), len(groups) - 1)
        rows = groups[at]
        return (
            [ribbons(self._rows, row, self._tokenizer, mask, max_length)[0] for row in rows],  # type: ignore[arg-type]
            len(groups),
            at,
        )

    def _groups(self, mask: str, max_length: int) -> tuple[Columns, list[list[int]]]:
        """The packed columns, and which rows are in each; worked out once for each pair of settings."""
        key = (mask, max_length)
        if key not in self._packed:
            self._packed.clear()  # of a large dataset one is enough
            columns = render(self._rows, self._tokenizer, mask, max_length)  # type: ignore[arg-type]
            kept = columns.kept or []
            groups = groups_of([len(ids) for ids in columns.data["input_ids"]], max_length)
            self._packed[key] = (
                packed(columns, max_length),
                [[kept[row] for row in group] for group in groups],
            )
        return self._packed[key]

    # What the page asks for

    def _do_hello(self, message: dict[str, Any]) -> dict[str, Any] | None:
        self._presence.hear()
        if self.wants_losses and not self.losses and not self.note and not self.error:
            self._ask()
        return super()._do_hello(message)

    def _do_show(self, message: dict[str, Any]) -> None:
        """Turns the page; `at`, `mask`, `max_length` and `packing` are optional."""
        wanted = {name: message[name] for name in ("at", "mask", "max_length", "packing") if name in message}
        settings = {"mask": self.mask, "max_length": self.max_length, "packing": self.packing, **wanted}
        _check(settings["mask"], settings["max_length"], settings["packing"] and not self.can_pack)
        is_slow = len(self._rows) > MANY and (settings["mask"], settings["max_length"]) not in self._packed
        if not (settings["packing"] and is_slow):
            self.show(**wanted)
            return
        self.note = f"{len(self._rows):,} rows are packed …"
        threading.Thread(target=self._show_apart, args=(wanted,), name="tokens", daemon=True).start()

    def _show_apart(self, wanted: dict[str, Any]) -> None:
        try:
            self.show(**wanted)
            self.note = ""
        except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
            with self._together():
                self.note = ""
                self._report(error)

    def _do_losses(self, message: dict[str, Any]) -> None:
        """Shows each token's loss, or no longer."""
        self.wants_losses = bool(message.get("wanted", True))
        self.error = ""
        self._show_losses()
        if self.wants_losses:
            self._ask()

    # Losses

    def _ask(self) -> None:
        """Has the losses of the page computed in the background, where they are not known."""
        wanted = self._unknown()
        if not wanted:
            return
        self._asked += 1
        self.note = f"{self.model} reads the row …"
        threading.Thread(
            target=self._score_apart, args=(wanted, self._asked), name="tokens", daemon=True
        ).start()

    def _unknown(self) -> list[list[int]]:
        return [ribbon.ids for ribbon in self._ribbons if tuple(ribbon.ids) not in self._scored]

    def _score_apart(self, rows: list[list[int]], asked: int) -> None:
        try:
            found = self._score(rows, self.model, note=self._tell)
        except Exception as error:  # noqa: BLE001 - nobody sees what a thread throws
            with self._together():
                self.note = ""
                self._report(error)
            return
        with self._together():
            self._remember(rows, found)
            if asked == self._asked:
                self.note = ""
                self._show_losses()

    def _tell(self, text: str) -> None:
        self.note = text

    def _remember(self, rows: list[list[int]], found: list[dict[str, Any]]) -> None:
        if len(self._scored) > REMEMBERED:
            self._scored.clear()
        for ids, one in zip(rows, found, strict=True):
            self._scored[tuple(ids)] = {
                "losses": [None, *(round(-value, 4) for value in one["log_probs"])],
                "candidates": [
                    [],
                    *([[text, round(exp(value), 4)] for text, value in best] for best in one["candidates"]),
                ],
            }

    def _show_losses(self) -> None:
        known = [self._scored.get(tuple(ribbon.ids)) for ribbon in self._ribbons]
        whole = self.wants_losses and None not in known
        self.losses = (
            [{name: values[:SHOWN] for name, values in one.items()} for one in known if one] if whole else []
        )

    # Where nobody can click

    def _settle(self) -> None:
        if self.wants_losses and (wanted := self._unknown()):
            self._remember(wanted, self._score(wanted, self.model))
            self._show_losses()

    def _summary(self) -> str:
        return f"Tokens {self.source} as {self.model} reads it: {self.told}"

    def _twin(self) -> str:
        more = range(self.at + 1, min(self.count, self.at + TWIN_ROWS))
        pages = [(self.at, self._ribbons)]
        pages += [(at, self._page(at, self.mask, self.max_length, self.packing)[0]) for at in more]
        limits = f"mask {self.mask}, at most {self.max_length:,} tokens{', packed' if self.packing else ''}"
        body = "".join(
            f'<div style="margin:8px 0"><b>{"Packed row" if self.packing else "Row"} {at + 1:,} of {self.count:,}</b>: '
            f"{escape(_told(page))}{_ribbons_html(page, self._scored if self.wants_losses else {})}</div>"
            for at, page in pages
        )
        return (
            f'<div style="max-width:860px"><p><b>{escape(self.source)}</b> as {escape(self.model)} reads it, {limits}. '
            f"<b><u>Underlined and bold</u></b>: learned; <i>italic</i>: written by the template; "
            f"<s>struck out</s>: cut.</p>{body}</div>"
        )


def _check(mask: str, max_length: int, packs_pairs: bool) -> None:
    if mask not in MASKS:
        raise ConfigError(f"mask: {mask!r} is none; there are {', '.join(MASKS)}")
    if isinstance(max_length, bool) or not isinstance(max_length, int) or not LEAST <= max_length <= MOST:
        raise ConfigError(f"max_length: {max_length!r} is no number of tokens from {LEAST} to {MOST:,}")
    if packs_pairs:
        raise ConfigError("packing: preferences are learned row by row; set packing to False")


def _drawn(ribbon: Ribbon) -> dict[str, Any]:
    return {
        "row": ribbon.row,
        "label": ribbon.label,
        "ids": ribbon.ids[:SHOWN],
        "texts": ribbon.texts[:SHOWN],
        "trained": "".join(
            "1" if _is_trained(ribbon, place) else "0" for place in range(min(SHOWN, len(ribbon.ids)))
        ),
        "template": "".join("1" if mark else "0" for mark in ribbon.is_template[:SHOWN]),
        "kept": ribbon.kept,
        "note": ribbon.note,
        "hidden": max(0, len(ribbon.ids) - SHOWN),
    }


def _is_trained(ribbon: Ribbon, place: int) -> bool:
    """Of a token that is cut, whether it would be."""
    return place > 0 and ribbon.labels[place] != IGNORE


def _told(page: list[Ribbon]) -> str:
    whole = sum(len(ribbon.ids) for ribbon in page)
    cut = sum(len(ribbon.ids) - ribbon.kept for ribbon in page if ribbon.kept)
    trained = sum(ribbon.trained for ribbon in page)
    dropped = [ribbon.note for ribbon in page if ribbon.note]
    rows = f", {len(page)} rows in one" if len(page) > 1 and not page[0].label else ""
    return dropped[0] if dropped else f"{trained:,} of {whole - cut:,} tokens trained, {cut:,} cut{rows}"


def visible(text: str) -> str:
    """The token with its white space written out."""
    return text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍") or "∅"


def _ribbons_html(page: list[Ribbon], scored: dict[tuple[int, ...], dict[str, Any]]) -> str:
    """Each part on a line of its own; said by bold, italic and strokes, so that it is legible without colour."""
    lines = []
    for ribbon in page:
        losses = scored.get(tuple(ribbon.ids), {}).get("losses", [])
        shown = range(min(len(ribbon.ids), 400))
        spans = "".join(_span(ribbon, place, losses[place] if losses else None) for place in shown)
        more = f" … and {len(ribbon.ids) - 400:,} more" if len(ribbon.ids) > 400 else ""
        head = ribbon.label or (f"row {ribbon.row + 1}" if len(page) > 1 else "")
        name = f"<small>{escape(head)}</small> " if head else ""
        known = [
            loss
            for place, loss in enumerate(losses[: ribbon.kept])
            if loss is not None and _is_trained(ribbon, place)
        ]
        mean = (
            f" <small>mean loss of what is learned {sum(known) / len(known):.3f} nats</small>"
            if known
            else ""
        )
        lines.append(f'<div style="line-height:1.9;overflow-wrap:anywhere">{name}{spans}{more}{mean}</div>')
    return "".join(lines)


def _span(ribbon: Ribbon, place: int, loss: float | None) -> str:
    trained, is_cut = _is_trained(ribbon, place), place >= ribbon.kept
    style = "border-radius:3px;padding:0 2px;margin:0 1px;"
    style += "background:#2f7fd140;" if trained and not is_cut else "background:#8888881a;"
    title = f"token {place}, id {ribbon.ids[place]}" + (f", loss {loss:.3f}" if loss is not None else "")
    text = escape(visible(ribbon.texts[place]))
    text = f"<b><u>{text}</u></b>" if trained and not is_cut else text
    text = f"<i>{text}</i>" if ribbon.is_template[place] else text
    text = f"<s>{text}</s>" if is_cut else text
    return f'<span title="{escape(title, quote=True)}" style="{style}">{text}</span>'
