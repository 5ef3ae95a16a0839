/** Every run in one table: how it stands, what can be done with it, and any of them over each other. */
import { KeyButton } from './lib/button';
import { Channel, CommandError, type Link } from './lib/channel';
import { duration } from './lib/chart';
import { ALIVE, CHIPS } from './lib/standing';
import type { Answers, Compared, Curve, Difference, Metric } from './lib/compared';
import { h, setText } from './lib/dom';
import { keepFocus } from './lib/focus';
import { isTyping, ownKeys } from './lib/keys';
import { matching, merged, ordered, spark, words, type Column, type Row } from './lib/listing';
import { Stage } from './lib/stage';
import { observe, type Model, type Scene } from './lib/model';
import { Versus } from './lib/versus';

/** Mirrors the synced traits of ftlab/widgets/runs.py. */
interface Traits {
  rows: Row[];
  live: Record<string, Partial<Row>>;
  chosen: string;
  selected: string[];
  view: string;
  metric: string;
  metrics: Metric[];
  curves: Curve[];
  steps: DataView;
  values: DataView;
  tokens: DataView;
  seconds: DataView;
  differences: Difference[];
  answers: Answers[];
  error: string;
}

const COLUMNS: [Column, string][] = [['name', 'Run'], ['status', 'Status'], ['method', 'Method'], ['model', 'Model'], ['data', 'Data'], ['progress', 'Steps'], ['loss', 'Loss'], ['eval_loss', 'Evaluation'], ['seconds', 'Time'], ['memory', 'Memory']];
const PAGE = 100; // rows drawn at first, and at each wish for more
const MOST_COMPARED = 10;
const SVG = 'http://www.w3.org/2000/svg';
const [WIDE, HIGH] = [72, 20];
const PATIENCE_MS = 20_000; // a clone of a run with large data hashes it first

/** One row of the page, kept and changed in place, so that the focus stays. */
class Line {
  readonly root: HTMLTableRowElement;
  readonly tick = h('input', { type: 'checkbox' });
  private readonly cells = new Map<Column, HTMLTableCellElement>();
  private readonly chip = h('span', { class: 'rv-chip' });
  private readonly reason = h('span', { class: 'rs-reason' });
  private readonly bar = h('progress', {});
  private readonly done = h('span', { class: 'rs-done' });
  private readonly left = h('span', { class: 'rs-done rs-left' });
  private readonly curve = document.createElementNS(SVG, 'svg');
  private readonly loss = h('span', {});
  private drawn = '';

  constructor(readonly name: string) {
    this.tick.setAttribute('aria-label', `Compare ${name}`);
    this.bar.setAttribute('aria-label', `Steps of ${name}`);
    this.tick.tabIndex = -1;
    this.curve.setAttribute('viewBox', `0 0 ${WIDE} ${HIGH}`);
    this.curve.setAttribute('class', 'rs-spark');
    this.curve.setAttribute('aria-hidden', 'true');
    this.root = h('tr', { 'data-run': name, tabindex: '-1' }, h('td', { class: 'rs-tick' }, this.tick), ...COLUMNS.map(([column]) => {
      const cell = h('td', { class: `rs-${column}` });
      this.cells.set(column, cell);
      return cell;
    }));
    this.cells.get('status')!.append(this.chip, this.reason);
    this.cells.get('progress')!.append(this.bar, this.done, this.left);
    this.cells.get('loss')!.append(this.curve, this.loss);
  }

  draw(row: Row, isTicked: boolean): void {
    this.root.setAttribute('aria-selected', String(isTicked));
    this.tick.checked = isTicked;
    const drawn = JSON.stringify(row);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const [sign, told, tone] = CHIPS[row.status] ?? ['?', row.status, ''];
    setText(this.chip, `${sign} ${row.status === 'queued' && row.position ? `queued, ${row.position}` : told}`);
    this.chip.className = `rv-chip${tone && ` rv-${tone}`}`;
    setText(this.reason, row.reason);
    this.reason.title = row.reason;
    for (const column of ['name', 'method', 'model', 'data', 'eval_loss', 'seconds', 'memory'] as const) setText(this.cells.get(column)!, words(row, column));
    this.cells.get('name')!.title = `created ${words(row, 'created')}`;
    this.bar.hidden = row.step === undefined || !row.total;
    this.bar.max = Math.max(1, row.total ?? 1);
    this.bar.value = row.step ?? 0;
    setText(this.done, words(row, 'progress'));
    setText(this.left, row.eta === undefined ? '' : `${duration(row.eta)} to go`);
    setText(this.loss, words(row, 'loss'));
    this.curve.replaceChildren(...spark(row.spark ?? [], WIDE, HIGH).map((points) => {
      const line = document.createElementNS(SVG, 'polyline');
      line.setAttribute('points', points);
      return line;
    }));
  }
}

class Table {
  readonly root: HTMLElement;
  private column: Column = 'created';
  private rising = false;
  private current = ''; // name of the run that keys and buttons act on
  private limit = PAGE;
  private shown: Row[] = [];
  private refusal = '';
  private link: Link = 'live';
  private isAwaited = false; // a run was opened here, so its view is what is looked for
  private editing = ''; // name of the run whose copy is being edited
  private wanted: string[] | null = null; // what is ticked here, until the kernel says so too
  private doomed = ''; // name of the run whose end has to be confirmed
  private readonly lines = new Map<string, Line>();

  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly count = h('span', { class: 'ft-quietly', role: 'status' });
  private readonly filter = h('input', { type: 'text', placeholder: 'Filter', 'aria-label': 'Filter by name, status, method, model or data', 'aria-keyshortcuts': '/', oninput: () => this.drawTable() });
  private readonly heads = new Map<Column, HTMLElement>();
  private readonly body = h('tbody', {});
  private readonly more = h('button', { type: 'button', class: 'ft-quiet', hidden: true, onclick: () => this.showMore() });
  private readonly empty = h('p', { class: 'ft-quietly rs-empty' });
  private readonly target = h('span', { class: 'rs-target' });
  private readonly stop = new KeyButton('s', 'Stop', () => void this.act('stop'));
  private readonly start = new KeyButton('r', 'Start', () => void this.act('start'));
  private readonly queue = new KeyButton('q', 'Queue', () => void this.enqueue());
  private readonly sooner = new KeyButton('', '↑', () => void this.move(-1), { 'aria-label': 'Sooner in the line' });
  private readonly later = new KeyButton('', '↓', () => void this.move(1), { 'aria-label': 'Later in the line' });
  private readonly clone = new KeyButton('c', 'Clone & change', () => void this.edit());
  private readonly remove = new KeyButton('Delete', 'Delete', () => this.doubt());
  private readonly open = new KeyButton('Enter', 'Open', () => void this.act('choose'));
  private readonly text = h('textarea', { rows: 14, spellcheck: 'false', 'aria-label': 'Configuration of the clone, as YAML', class: 'rs-yaml' });
  private readonly told = h('p', { class: 'rs-told' });
  private readonly editor = h('section', { class: 'rs-editor', 'aria-label': 'Clone and change', hidden: true }, this.told, this.text,
    h('div', { class: 'ft-row' }, h('button', { type: 'button', class: 'ft-primary', onclick: () => void this.finish('start') }, 'Start'), h('button', { type: 'button', onclick: () => void this.finish('queue') }, 'Queue'), h('button', { type: 'button', onclick: () => void this.finish('create') }, 'Only create'), h('button', { type: 'button', class: 'ft-quiet', onclick: () => this.leave() }, 'Cancel')));
  private readonly question = h('span', {});
  private readonly keep = h('button', { type: 'button', onclick: () => this.leave() }, 'Keep it');
  private readonly doubts = h('div', { class: 'ft-banner ft-warn rs-doubts', role: 'alertdialog', 'aria-label': 'Delete a run', hidden: true }, this.question, ' ', h('button', { type: 'button', onclick: () => void this.destroy() }, 'Delete it'), ' ', this.keep);
  readonly versus: Versus;
  private readonly stage: Stage;
  private readonly opened = h('section', { class: 'rs-opened', 'aria-label': 'The opened run', hidden: true });

  constructor(private model: Model<Traits>, private channel: Channel, signal: AbortSignal) {
    this.stage = new Stage(model, signal);
    this.opened.append(h('div', { class: 'ft-row rs-opened-head' }, h('span', { class: 'ft-space' }), h('button', { type: 'button', class: 'ft-quiet', onclick: () => void this.shut() }, 'Close')), this.stage.root);
    const head = h('tr', {}, h('th', { class: 'rs-tick' }, h('span', { class: 'ft-unseen' }, 'Compare')), ...COLUMNS.map(([column, label]) => {
      const cell = h('th', { scope: 'col', class: `rs-${column}`, 'aria-sort': 'none' }, h('button', { type: 'button', class: 'ft-quiet rs-sort', onclick: () => this.sort(column) }, label));
      this.heads.set(column, cell);
      return cell;
    }));
    const table = h('table', { role: 'grid', 'aria-label': 'Runs', 'aria-multiselectable': 'true', onclick: (event) => this.click(event), ondblclick: (event) => this.click(event, true), onfocusin: (event) => this.focused(event) }, h('thead', {}, head), this.body);
    const read = () => Object.fromEntries(['selected', 'metric', 'metrics', 'curves', 'steps', 'values', 'tokens', 'seconds', 'differences', 'answers'].map((name) => [name, model.get(name as keyof Traits)])) as unknown as Compared;
    this.versus = new Versus(read, (name) => void this.ask('metric', { name }), () => void this.ask('select', { names: [] }), signal);
    this.root = h('section', { class: 'ftlab rs', 'aria-label': 'Runs', tabindex: '-1' }, this.banner,
      h('div', { class: 'ft-row rs-head' }, h('span', { class: 'rs-heading' }, 'Runs'), this.count, h('span', { class: 'ft-space' }), this.filter),
      h('div', { class: 'rs-scroll' }, table), this.empty, this.more,
      h('div', { class: 'ft-row rs-acts', role: 'group', 'aria-label': 'What to do with the run' }, this.target, ...[this.open, this.stop, this.start, this.queue, this.sooner, this.later, this.clone, this.remove].map(({ root }) => root)),
      this.doubts, this.editor, this.versus.root, this.opened);
    channel.watch((link) => {
      this.link = link;
      this.drawActs();
    });
  }

  drawTable(): void {
    const all = merged(this.model.get('rows'), this.model.get('live'));
    const found = ordered(matching(all, this.filter.value), this.column, this.rising);
    this.shown = found.slice(0, this.limit);
    if (!this.shown.some(({ name }) => name === this.current)) this.current = this.shown[0]?.name ?? '';
    const focused = document.activeElement;
    const had = focused instanceof HTMLElement && this.body.contains(focused);
    const selected = new Set(this.wanted ?? this.model.get('selected'));
    const names = new Set(this.shown.map(({ name }) => name));
    for (const [name, line] of this.lines) {
      if (names.has(name)) continue;
      line.root.remove();
      this.lines.delete(name);
    }
    this.shown.forEach((row, place) => {
      const line = this.lines.get(row.name) ?? new Line(row.name);
      this.lines.set(row.name, line);
      line.draw(row, selected.has(row.name));
      line.root.tabIndex = row.name === this.current ? 0 : -1;
      line.root.classList.toggle('rs-current', row.name === this.current);
      if (this.body.children[place] !== line.root) this.body.insertBefore(line.root, this.body.children[place] ?? null);
    });
    if (had && !this.body.contains(document.activeElement)) this.lines.get(this.current)?.root.focus({ preventScroll: true });
    for (const [column, head] of this.heads) head.setAttribute('aria-sort', column === this.column ? (this.rising ? 'ascending' : 'descending') : 'none');
    setText(this.count, found.length === all.length ? `${all.length}` : `${found.length} of ${all.length}`);
    this.more.hidden = found.length <= this.limit;
    setText(this.more, `Show ${Math.min(PAGE, found.length - this.limit)} more`);
    this.empty.hidden = found.length > 0;
    setText(this.empty, all.length ? 'No run fits the filter.' : 'There are no runs yet.');
    this.drawActs();
  }

  drawActs(): void {
    const focused = document.activeElement;
    const row = this.row();
    const able = !!row && this.link !== 'gone';
    const status = row?.status ?? 'created';
    const isQueued = status === 'queued';
    const waiting = this.model.get('rows').filter((one) => one.status === 'queued').length;
    setText(this.target, row ? row.name : '');
    this.open.set({ open: able });
    this.stop.set({ open: able && (ALIVE.has(status) || isQueued), label: isQueued ? 'Leave the line' : 'Stop' });
    this.start.set({ open: able && ['created', 'stopped', 'failed', 'queued'].includes(status), label: status === 'stopped' || status === 'failed' ? 'Resume' : isQueued ? 'Start now' : 'Start' });
    this.queue.set({ open: able && ['created', 'stopped', 'failed'].includes(status) });
    this.sooner.set({ hidden: !isQueued, open: able && (row?.position ?? 1) > 1 });
    this.later.set({ hidden: !isQueued, open: able && (row?.position ?? waiting) < waiting });
    this.clone.set({ open: able });
    this.remove.set({ open: able && !ALIVE.has(status) && !isQueued });
    const error = this.refusal || this.model.get('error');
    this.banner.hidden = this.link === 'live' && !error;
    setText(this.banner, this.link === 'gone' ? 'Disconnected: the kernel of this cell has ended. The runs go on without it; run the cell again to see them.'
      : this.link === 'silent' ? 'Disconnected: the kernel does not answer; it is busy or gone. The runs go on without it.' : error);
    keepFocus(this.root, focused);
  }

  /** Whether the key was used. */
  key(event: KeyboardEvent): boolean {
    if (event.key === 'Escape' && (this.editing || this.doomed)) return this.leave();
    const target = event.target as HTMLElement;
    if (isTyping(event) && !(target instanceof HTMLInputElement && target.type === 'checkbox')) {
      if (event.key !== 'ArrowDown' || target !== this.filter) return false;
      this.step(0);
      return true;
    }
    if (event.key === '/') {
      this.filter.focus();
      return true;
    }
    if (!this.body.contains(target)) return false;
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -this.shown.length, End: this.shown.length }[event.key];
    if (step !== undefined) {
      this.step(step);
      return true;
    }
    if (event.key === ' ') {
      this.toggle(this.current);
      return true;
    }
    const button = [this.open, this.stop, this.start, this.queue, this.clone, this.remove].find(({ key }) => key === event.key);
    if (!button || button.root.disabled) return false;
    button.root.click();
    return true;
  }

  private row(): Row | undefined {
    return this.shown.find(({ name }) => name === this.current);
  }

  private step(by: number): void {
    const at = Math.max(0, this.shown.findIndex(({ name }) => name === this.current));
    const next = this.shown[Math.min(this.shown.length - 1, Math.max(0, at + by))];
    if (!next) return;
    this.current = next.name;
    this.drawTable();
    this.lines.get(next.name)?.root.focus();
  }

  private click(event: Event, twice = false): void {
    const target = event.target as HTMLElement;
    const name = target.closest<HTMLElement>('[data-run]')?.dataset.run;
    if (!name) return;
    if (target instanceof HTMLInputElement) this.toggle(name);
    this.current = name;
    this.drawTable();
    if (twice) void this.act('choose');
  }

  private focused(event: Event): void {
    const name = (event.target as HTMLElement).closest<HTMLElement>('[data-run]')?.dataset.run;
    if (!name || name === this.current) return;
    this.current = name;
    this.drawTable();
  }

  private sort(column: Column): void {
    // names rise at first, figures fall; a third press brings the newest on top again
    const first = ['name', 'method', 'model', 'data', 'status', 'loss', 'eval_loss'].includes(column);
    if (this.column !== column) [this.column, this.rising] = [column, first];
    else if (this.rising === first) this.rising = !first;
    else [this.column, this.rising] = ['created', false];
    this.drawTable();
  }

  private showMore(): void {
    this.limit += PAGE;
    this.drawTable();
  }

  private toggle(name: string): void {
    const selected = this.wanted ?? this.model.get('selected');
    const names = selected.includes(name) ? selected.filter((one) => one !== name) : [...selected, name];
    if (names.length > MOST_COMPARED) {
      this.refusal = `${MOST_COMPARED} runs at most are compared; take one out first.`;
      this.drawTable();
      return;
    }
    this.wanted = names;
    void this.ask('select', { names }).then(() => {
      if (this.wanted !== names) return; // ticked further meanwhile
      this.wanted = null;
      this.drawTable();
    });
    this.drawTable();
  }

  private act(type: 'stop' | 'start' | 'choose'): Promise<unknown> {
    this.isAwaited = type === 'choose';
    return this.ask(type, { name: this.current });
  }

  private async shut(): Promise<void> {
    await this.ask('shut', {});
    this.lines.get(this.current)?.root.focus();
  }

  /** The run that was opened, with its curves and answers, below the table. */
  async drawOpened(): Promise<void> {
    const id = this.model.get('view');
    try {
      const isNew = await this.stage.show(id);
      this.opened.hidden = !this.stage.root.childElementCount;
      if (isNew && this.isAwaited) this.opened.scrollIntoView?.({ block: 'nearest' });
      if (isNew) this.isAwaited = false;
    } catch (error) {
      this.refusal = `${this.model.get('chosen')} cannot be shown here (${(error as Error).message}).`;
      this.drawTable();
    }
  }

  private enqueue(): Promise<unknown> {
    return this.ask('queue', { name: this.current });
  }

  private move(by: number): Promise<unknown> {
    return this.ask('queue', { name: this.current, position: Math.max(1, (this.row()?.position ?? 1) + by) });
  }

  private async edit(): Promise<void> {
    const name = this.current;
    const reply = await this.ask('config', { name });
    if (!reply) return;
    this.leave();
    this.editing = name;
    setText(this.told, `A copy of ${name}: change what is to be different. Where you leave the name, the copy gets one of its own.`);
    this.text.value = String(reply.yaml);
    this.editor.hidden = false;
    this.text.setSelectionRange(0, 0); // the browser would show the end
    this.text.focus();
    this.text.scrollTop = 0;
  }

  private async finish(then: 'start' | 'queue' | 'create'): Promise<void> {
    const reply = await this.ask('clone', { name: this.editing, yaml: this.text.value, then });
    if (!reply) return;
    this.current = String(reply.name);
    this.filter.value = '';
    this.leave();
  }

  private doubt(): void {
    this.leave();
    this.doomed = this.current;
    setText(this.question, `Delete ${this.doomed} with its checkpoints and its result? There is no way back.`);
    this.doubts.hidden = false;
    this.keep.focus();
  }

  private async destroy(): Promise<void> {
    const name = this.doomed;
    const at = this.shown.findIndex((row) => row.name === name);
    const next = (this.shown[at + 1] ?? this.shown[at - 1])?.name;
    const reply = await this.ask('delete', { name });
    if (reply && next) this.current = next;
    this.leave();
  }

  /** Puts the editor and the question away, and the focus back on the row. */
  private leave(): true {
    const inside = this.editor.contains(document.activeElement) || this.doubts.contains(document.activeElement);
    this.editing = this.doomed = '';
    this.editor.hidden = this.doubts.hidden = true;
    this.drawTable();
    if (inside) (this.lines.get(this.current)?.root ?? this.root).focus();
    return true;
  }

  private async ask(type: string, body: Record<string, unknown>): Promise<Record<string, unknown> | null> {
    this.refusal = '';
    try {
      return await this.channel.ask(type, body, PATIENCE_MS);
    } catch (error) {
      this.refusal = error instanceof CommandError ? error.message : `The kernel did not answer (${(error as Error).message}); whether it was done is not known.`;
      return null;
    } finally {
      this.drawTable();
    }
  }
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const table = new Table(model, channel, signal);
    el.append(table.root);
    ownKeys(table.root, (event) => table.key(event), signal);
    observe(model, ['rows', 'live', 'selected', 'chosen', 'error'], () => table.drawTable(), signal);
    observe(model, ['view'], () => void table.drawOpened(), signal);
    observe(model, ['selected', 'metric', 'metrics', 'curves', 'steps', 'values', 'tokens', 'seconds'], () => table.versus.drawCurves(), signal);
    observe(model, ['differences', 'selected', 'curves'], () => table.versus.drawFields(), signal);
    observe(model, ['answers', 'selected'], () => table.versus.drawAnswers(), signal);
  },
};
