/** The rating desk: one task after the other, and nothing that is said on it gets lost. */
import { KeyButton, walk } from './lib/button';
import { Channel, type Link, type Reply } from './lib/channel';
import { fill, h, setText } from './lib/dom';
import { DraftStore } from './lib/drafts';
import { end, type Standings } from './lib/end';
import { keepFocus } from './lib/focus';
import { Head, type Progress } from './lib/head';
import { mint } from './lib/id';
import { isTyping, ownKeys } from './lib/keys';
import { observe, type Model, type Scene } from './lib/model';
import { begin } from './lib/modes';
import type { Mode, Opinion, Task } from './lib/modes/mode';
import { Notes } from './lib/modes/notes';
import { Composer, type Turn } from './lib/modes/turn';
import { browserStorage, Outbox, Postman, type Posted } from './lib/outbox';
import { banner, waiting, type Told } from './lib/status';
import { Stopwatch } from './lib/stopwatch';
import { conversation } from './lib/text';

interface Said { event_id: string; assignment_id: string; words: string }

/** Mirrors the synced traits of ftlab/widgets/rate.py. */
interface Traits {
  desk: string;
  batch: string;
  mode: Task['mode'];
  instructions: string;
  instructions_version: number;
  flags: Record<string, string>;
  task: Task | null;
  turn: Turn | null;
  place: { position: number; earlier: boolean; later: boolean };
  progress: Progress;
  last: Said | null;
  standings: Standings;
  error: string;
}

const TICK_MS = 250;
const KEYS: [string, string][] = [['u', 'undo'], ['s', 'skip'], ['c', 'comment'], ['l', 'label'], ['f', 'flag task'], ['e n', 'earlier, later'], ['z', 'pause'], ['p', 'plain text']];

/** What the person is in the middle of; everything else is in the traits. */
interface State {
  shown: string; // the task and the event it follows, that `mode` and `notes` belong to
  ready: boolean; // all answers have been painted
  flagging: boolean;
  paused: boolean;
  plain: boolean;
  link: Link;
  sent: { event: Posted; at: number; reason: string; place: string } | null; // posted, no receipt yet
  passed: string; // the place that has its receipt; the traits say what comes next a moment later
  saved: number; // in this sitting
  note: Told;
}

class RateDesk {
  readonly state: State = { shown: '', ready: false, flagging: false, paused: false, plain: false, link: 'live', sent: null, passed: '', saved: 0, note: { tone: '', text: '' } };
  readonly root: HTMLElement;
  readonly drafts: DraftStore;
  private mode: Mode | null = null;
  private notes: Notes | null = null;
  private readonly labels: string[] = []; // used on this page
  private readonly said = new Map<string, string>(); // texts sent from this page: an undo brings them back

  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly head: Head;
  private readonly sheet = h('div', { class: 'rate-sheet' });
  private readonly controls = h('div', { class: 'rate-controls' });
  private readonly curtain: HTMLElement;
  private readonly desk: HTMLElement;
  private readonly tools: HTMLElement;
  private readonly composer: Composer;
  private readonly help = h('p', { class: 'rate-help ft-quietly', 'aria-label': 'Keys' });
  private readonly status = h('span', { class: 'rate-status', role: 'status', 'aria-live': 'polite' });
  private readonly live = h('div', { class: 'ft-unseen', 'aria-live': 'assertive' });
  private readonly undo = new KeyButton('u', 'Undo', () => this.takeBack(), { class: 'ft-quiet' });
  private readonly skip = new KeyButton('s', 'Skip', () => this.send('skip'), { class: 'ft-quiet' });
  private readonly flag = new KeyButton('f', 'Flag task', () => this.askFlag(), { class: 'ft-quiet', title: 'Something is wrong with it: it leaves the queue' });
  private readonly flagNow = new KeyButton('', 'Flag it now', () => this.send('flag'), { class: 'ft-primary', hidden: true });
  private readonly earlier = new KeyButton('e', 'Earlier', () => this.go(-1), { class: 'ft-quiet' });
  private readonly later = new KeyButton('n', 'Later', () => this.go(1), { class: 'ft-quiet' });
  private readonly plain = new KeyButton('p', 'Plain text', () => this.togglePlain(), { class: 'ft-quiet', title: 'Show everything exactly as written, characters that cannot be seen included' });
  private readonly pause = new KeyButton('z', 'Pause', () => this.togglePause(), { class: 'ft-quiet', title: 'The clock stands still' });

  private readonly session = mint(); // this page's sitting
  private readonly watch: Stopwatch;
  private readonly sitting: Stopwatch;
  private readonly outbox: Outbox;
  private readonly postman: Postman;

  constructor(private model: Model<Traits>, private channel: Channel, private signal: AbortSignal) {
    const name = model.get('desk');
    const storage = browserStorage();
    this.watch = new Stopwatch(signal);
    this.sitting = new Stopwatch(signal);
    this.sitting.hold();
    this.sitting.restart();
    this.outbox = new Outbox(name);
    this.drafts = new DraftStore(name, storage);
    this.head = new Head(name, storage, () => this.focus());
    this.composer = new Composer(this.drafts, { send: (message) => void this.command('turn', { message }), leave: () => void this.command('leave'), cancel: () => void this.command('cancel') });
    this.tools = h('div', { class: 'ft-row rate-tools', role: 'toolbar', 'aria-label': 'Tools' }, this.undo.root, this.skip.root, this.flag.root, this.flagNow.root, h('span', { class: 'ft-space' }), this.earlier.root, this.later.root, this.plain.root, this.pause.root);
    this.desk = h('div', { class: 'rate-desk' }, this.sheet, this.controls);
    this.curtain = h('div', { class: 'rate-curtain', hidden: true }, h('p', {}, h('strong', {}, 'Paused'), h('br'), 'The clock stands still. ', h('kbd', {}, 'z'), ' goes on.'));
    this.root = h('section', { class: 'ftlab rate', 'aria-label': 'Rate answers', tabindex: '-1' },
      this.banner, this.head.changed, this.head.root,
      h('div', { class: 'rate-stage' }, this.desk, this.curtain), this.tools,
      h('div', { class: 'ft-row rate-foot' }, this.status, h('span', { class: 'ft-space' }), h('span', { class: 'rate-hint ft-quietly' }, 'Click here or press Tab to use the keys.')),
      this.help, this.live);
    this.postman = new Postman(this.outbox, channel, 'record', {
      receipt: (event, reply) => this.receipt(event, reply),
      refused: (event, reason) => this.settle(event, 'bad', `Not taken: ${reason}`),
      pending: (event, reason) => this.pending(event, reason),
    }, signal);
    channel.watch((link) => {
      this.state.link = link;
      this.redraw();
    });
    const clock = setInterval(() => this.tick(), TICK_MS);
    signal.addEventListener('abort', () => {
      clearInterval(clock);
      this.mode?.close?.();
    });
  }

  /** Sends again what an earlier page, tab or kernel left behind. */
  open(): void {
    const waiting = this.outbox.entries().at(-1);
    if (waiting) this.state.sent = { event: waiting.event, at: Date.now(), reason: '', place: '' };
    void this.postman.deliver();
    this.channel.ask('open').catch(() => undefined); // the banner and the next beat say what is wrong
  }

  // what is on the desk

  drawTask(): void {
    const focused = document.activeElement;
    const turn = this.model.get('turn');
    const task = turn ? null : this.model.get('task');
    const shown = task ? `${task.assignment_id}|${task.prev_event_id}` : turn ? 'turn' : 'end';
    if (!turn) this.composer.done();
    if (shown !== this.state.shown || !task) {
      this.state.shown = shown;
      this.lay(task);
      if (!task) this.watch.hold();
    }
    this.drawHead();
    if (!task && !turn) fill(this.sheet, end(this.model.get('mode'), this.model.get('progress'), this.model.get('standings'), () => void this.command('reveal', {}, 30_000)));
    if (turn && this.sheet.firstChild !== this.composer.root) fill(this.sheet, this.composer.root);
    this.redraw();
    keepFocus(this.root, focused);
    if (turn?.state === 'waiting' && document.activeElement === this.root) this.composer.focus();
  }

  /** A new task: its mode, and notes about it. */
  private lay(task: Task | null): void {
    const inside = this.desk.contains(document.activeElement);
    const old = this.mode;
    this.state.ready = this.state.flagging = false;
    if (task) {
      this.recall(task);
      this.mode = begin(task, this);
      this.notes = new Notes(task, this.model.get('flags'), this.labels.concat(task.settings.labels ?? []).filter((label, index, all) => all.indexOf(label) === index), () => this.redraw());
      fill(this.sheet, conversation(task.prompt, this.state.plain), this.mode.sheet);
      fill(this.controls, this.mode.controls, this.notes.root);
      this.whenPainted();
    } else {
      this.mode = this.notes = null;
      fill(this.controls);
    }
    old?.close?.();
    this.drawHelp();
    if (inside) this.root.focus({ preventScroll: true });
  }

  /** A text that was taken back, or that nobody took, is there again. */
  private recall(task: Task): void {
    const text = this.said.get(task.assignment_id);
    if (task.mode === 'edit' && !task.stands && text !== undefined && this.drafts.read(task.assignment_id) === null) this.drafts.write(task.assignment_id, text);
  }

  /** The clock starts, and the buttons work, once all answers are on the screen. */
  private whenPainted(): void {
    const { shown } = this.state;
    const box = this.sheet.querySelector('.rate-prompt');
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (this.signal.aborted || this.state.shown !== shown || this.state.ready) return;
      this.state.ready = true;
      if (box) box.scrollTop = this.model.get('mode') === 'dialogue' ? box.scrollHeight : 0;
      if (!this.state.paused) {
        this.watch.release();
        this.sitting.release();
      }
      this.watch.restart();
      this.redraw();
      if (document.activeElement === this.root || this.controls.contains(document.activeElement)) this.mode?.focus();
    }));
  }

  redraw(): void {
    const focused = document.activeElement;
    const { link, paused, flagging } = this.state;
    const task = this.shown();
    const alive = !this.busy() && link !== 'gone' && !paused;
    const open = !!task && alive;
    const place = this.model.get('place');
    this.root.dataset.open = String(open);
    this.mode?.draw(open, this.state.plain);
    this.notes?.draw(open);
    const turn = this.model.get('turn');
    if (turn) this.composer.draw(turn, link !== 'gone' && !paused, this.state.plain);
    const last = this.model.get('last');
    this.undo.set({ open: !!last && alive && turn?.state !== 'answering', title: last ? `Take back ${last.words}` : 'Nothing to take back' });
    this.skip.set({ open, hidden: !this.mode });
    this.flag.set({ open, hidden: !this.mode, pressed: flagging });
    this.flagNow.set({ open, hidden: !flagging });
    this.earlier.set({ open: place.earlier && alive && !turn });
    this.later.set({ open: place.later && alive && !turn, hidden: !place.later });
    this.pause.set({ open: !!this.mode || paused, pressed: paused, label: paused ? 'Go on' : 'Pause' });
    this.plain.set({ pressed: this.state.plain });
    this.desk.inert = paused;
    this.curtain.hidden = !paused;
    this.desk.classList.toggle('rate-hidden', paused);
    this.drawStatus();
    this.tick();
    keepFocus(this.root, focused);
  }

  private drawHead(): void {
    const { position, later } = this.model.get('place');
    const stands = this.model.get('task')?.stands;
    const looking = later ? `looking at ${position}${stands ? ` (${stands.words})` : ''}` : '';
    this.head.draw(this.model.get('instructions'), this.model.get('instructions_version'), this.model.get('progress'), looking);
  }

  private drawHelp(): void {
    const own = this.mode?.help ?? [];
    const flags = this.model.get('task')?.settings.flags ? [['i', 'flags']] : [];
    const all = this.mode ? [...own, ...flags, ...KEYS] : [...(this.model.get('turn') ? [['Ctrl ⏎', 'send']] : this.model.get('standings').rows.length ? [] : [['m', 'models']]), ['u', 'undo'], ['e', 'earlier']];
    fill(this.help, ...all.map(([key, words]) => h('span', {}, h('kbd', {}, key), ` ${words}`)));
  }

  private drawBanner(): void {
    const { link } = this.state;
    const error = this.model.get('error');
    const isFine = link === 'live' && this.outbox.durable && !error;
    if (this.banner.hidden && isFine) return; // the outbox is read for bad news only: a receipt should not wait for it
    const text = banner(link, isFine ? 0 : this.outbox.entries().length, error, this.outbox.durable);
    this.banner.hidden = !text;
    this.banner.classList.toggle('ft-bad', link !== 'silent');
    this.banner.classList.toggle('ft-warn', link === 'silent');
    setText(this.banner, text);
  }

  drawStatus(): void {
    const { sent } = this.state;
    const { tone, text } = sent ? waiting(Date.now() - sent.at, sent.reason) : this.state.note;
    this.status.className = `rate-status${tone ? ` ft-${tone}` : ''}`;
    setText(this.status, text);
    this.drawBanner();
  }

  private tick(): void {
    if (this.state.sent) this.drawStatus();
    this.head.tick(this.mode && this.state.ready ? this.watch.read() : null, this.state.saved, this.sitting.read());
  }

  // what may be done

  /** The task that can be judged: it is the newest that came, and all its answers are on the screen. */
  private shown(): Task | null {
    const task = this.model.get('task');
    return task && this.mode && this.state.ready && this.state.shown === `${task.assignment_id}|${task.prev_event_id}` ? task : null;
  }

  /** Where the rater stands: it differs after every event that the store took. */
  private place(): string {
    const task = this.model.get('task');
    return `${task?.assignment_id}|${task?.prev_event_id}|${this.model.get('last')?.event_id}`;
  }

  private busy(): boolean {
    return this.state.sent !== null || this.state.passed === this.place();
  }

  /** Sends what the mode says, where it says something. */
  commit(): void {
    const opinion = this.mode?.say();
    if (opinion) this.send('rate', opinion);
  }

  submit(): void {
    if (this.model.get('turn')) this.composer.submit();
    else if (this.state.flagging) this.send('flag');
    else this.commit();
  }

  private send(kind: 'rate' | 'skip' | 'flag', opinion: Opinion = { choice: null, strength: null, scores: null }): void {
    const task = this.shown();
    if (!task || !this.notes || this.busy() || this.state.paused || this.state.link === 'gone') return;
    const scores = { ...opinion.scores, ...this.notes.scores() };
    if (typeof scores.text === 'string') this.said.set(task.assignment_id, scores.text);
    for (const label of (scores.labels as string[] | undefined) ?? []) if (!this.labels.includes(label)) this.labels.push(label);
    this.post({
      event_id: mint(), session_id: this.session, kind: kind === 'rate' && task.stands && task.stands.kind !== 'flag' ? 'revise' : kind,
      assignment_id: task.assignment_id, prev_event_id: task.prev_event_id, choice: opinion.choice, strength: opinion.strength,
      scores: Object.keys(scores).length ? scores : null, comment: this.notes.text(), shown_ms: this.watch.read(), ...clocks(),
    });
  }

  private takeBack(): void {
    const last = this.model.get('last');
    if (!last || this.busy()) return;
    this.post({ event_id: mint(), session_id: this.session, kind: 'undo', assignment_id: last.assignment_id, prev_event_id: last.event_id, ...clocks() });
  }

  private askFlag(): void {
    this.state.flagging = !this.state.flagging;
    this.notes?.ask(this.state.flagging ? 'What is wrong with this task?' : 'Comment, saved with your choice');
    this.redraw();
    if (this.state.flagging) this.notes?.key('c');
  }

  private go(by: number): void {
    void this.command('go', { position: this.model.get('place').position + by });
  }

  private togglePlain(): void {
    this.state.plain = !this.state.plain;
    const task = this.mode && this.model.get('task');
    if (task) this.sheet.querySelector('.rate-prompt')?.replaceWith(conversation(task.prompt, this.state.plain));
    this.redraw();
  }

  private togglePause(): void {
    this.state.paused = !this.state.paused;
    for (const watch of [this.watch, this.sitting]) {
      if (this.state.paused) watch.hold();
      else if (this.state.ready) watch.release();
    }
    this.redraw();
    this.announce(this.state.paused ? 'Paused: the clock stands still' : 'Going on');
    if (!this.state.paused) this.focus();
  }

  announce(text: string): void {
    if (text) setText(this.live, text);
  }

  private async command(type: string, body: Record<string, unknown> = {}, patience_ms = 5000): Promise<void> {
    try {
      await this.channel.ask(type, body, patience_ms);
    } catch (error) {
      this.state.note = { tone: 'bad', text: `That did not work: ${(error as Error).message}` };
      this.drawStatus();
    }
  }

  // receipts

  private post(event: Posted): void {
    this.state.sent = { event, at: Date.now(), reason: '', place: this.place() };
    this.state.flagging = false;
    this.postman.post(event);
    this.redraw();
  }

  private receipt(event: Posted, reply: Reply): void {
    const words = { undo: 'Taken back', skip: 'Skipped', flag: 'Flagged', revise: 'Changed', rate: 'Saved' }[event.kind as string];
    if (event.kind !== 'undo') this.drafts.drop(String(event.assignment_id));
    if (event.kind === 'undo') this.state.saved = Math.max(0, this.state.saved - 1);
    else if (event.kind !== 'revise' && reply.status !== 'duplicate') this.state.saved += 1;
    this.settle(event, 'good', `✓ ${words ?? 'Saved'} (entry ${String(reply.seq)})`);
  }

  private settle(event: Posted, tone: Told['tone'], text: string): void {
    if (this.state.sent?.event.event_id === event.event_id) {
      this.state.passed = tone === 'good' ? this.state.sent.place : '';
      this.state.sent = null;
    }
    this.state.note = { tone, text };
    if (tone === 'bad' && this.state.shown.startsWith(`${String(event.assignment_id)}|`)) {
      this.state.shown = ''; // what was chosen is not what stands
      this.drawTask();
    } else this.redraw();
  }

  private pending(event: Posted, reason: string): void {
    this.state.sent ??= { event, at: Date.now(), reason, place: '' };
    this.state.sent.reason = reason;
    this.drawStatus();
  }

  private focus(): void {
    if (this.mode) this.mode.focus();
    else this.root.focus({ preventScroll: true });
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === 'Escape') return this.escape(event);
    if (isTyping(event)) return false;
    if (this.state.paused && event.key !== 'z') return event.key !== 'Tab';
    if (this.mode?.key(event) || walk(event) || this.notes?.key(event.key)) return true;
    const button = [...this.root.querySelectorAll<HTMLButtonElement>('button[data-key]')].find((one) => one.dataset.key === event.key.toLowerCase() && !one.closest('[hidden]'));
    if (button) {
      if (!event.repeat) button.click(); // a disabled button ignores it
      return true;
    }
    return event.repeat && (event.key === 'Enter' || event.key === ' '); // a key held down must not rate the next task
  }

  /** One step back: out of a field, out of flagging, out of a half-made choice. */
  private escape(event: KeyboardEvent): boolean {
    if (isTyping(event) || this.state.flagging) {
      if (this.state.flagging) this.askFlag();
      this.root.focus({ preventScroll: true });
      return true;
    }
    if (!this.mode?.back()) return false;
    this.redraw();
    if (document.activeElement === this.root) this.focus(); // what had the focus is gone
    return true;
  }
}

function clocks(): { client_utc: string; client_mono_ms: number } {
  return { client_utc: new Date().toISOString(), client_mono_ms: Math.round(performance.now()) };
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const desk = new RateDesk(model, channel, signal);
    desk.root.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing || event.repeat) return;
      event.preventDefault();
      desk.submit();
    }, { signal });
    ownKeys(desk.root, (event) => desk.key(event), signal);
    observe(model, ['task', 'turn', 'place', 'progress', 'last', 'standings', 'instructions', 'instructions_version'], () => desk.drawTask(), signal);
    observe(model, ['error'], () => desk.drawStatus(), signal);
    el.append(desk.root);
    desk.open();
  },
};
