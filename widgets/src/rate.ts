/** One pair after the other: which answer is better, and how much? */
import { Channel, type Link, type Reply } from './lib/channel';
import { fill, h, setText } from './lib/dom';
import { mint } from './lib/id';
import { isTyping, ownKeys } from './lib/keys';
import { markdown } from './lib/markdown';
import { observe, type Model, type Scene } from './lib/model';
import { Outbox, Postman, type Posted } from './lib/outbox';
import { Stopwatch } from './lib/stopwatch';

interface Message { role: string; content: string }
interface Task { assignment_id: string; position: number; prompt: Message[]; left: string; right: string; prev_event_id: string | null }
interface Said { event_id: string; assignment_id: string; words: string }
interface Standing { a: string; b: string; wins: number; losses: number; ties: number; both_bad: number; n: number; rate: string }

/** Mirrors the synced traits of ftlab/widgets/rate.py. */
interface Traits {
  desk: string;
  batch: string;
  instructions: string;
  task: Task | null;
  progress: { answered: number; skipped: number; flagged: number; total: number };
  last: Said | null;
  standings: Standing[];
  error: string;
}

type Choice = 'left' | 'right' | 'tie' | 'both_bad';
type Tone = '' | 'good' | 'warn' | 'bad';

const CHOICES: [string, Choice, string][] = [['1', 'left', 'A is better'], ['2', 'right', 'B is better'], ['3', 'tie', 'Tie'], ['4', 'both_bad', 'Both bad']];
const STRENGTHS: [string, number, string][] = [['1', 3, 'Significantly'], ['2', 2, 'Clearly'], ['3', 1, 'Slightly'], ['4', 0, 'Negligibly']];
const AMBER_MS = 5000;
const RED_MS = 15_000;

/** What the person is in the middle of; everything else is in the traits. */
interface State {
  assignment: string; // that `choice` and `comment` belong to
  ready: boolean; // both answers have been painted
  choice: 'left' | 'right' | null; // chosen, strength still to be said
  writing: 'comment' | 'flag' | null;
  comment: string;
  plain: boolean;
  link: Link;
  sent: { event: Posted; at: number; reason: string; place: string } | null; // posted, no receipt yet
  passed: string; // the place that has its receipt; the traits say what comes next a moment later
  note: { tone: Tone; text: string };
}

class Desk {
  readonly state: State = {
    assignment: '', ready: false, choice: null, writing: null, comment: '', plain: false, link: 'live', sent: null, passed: '', note: { tone: '', text: '' },
  };
  readonly root: HTMLElement;
  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly head = h('div', { class: 'rate-head' });
  private readonly sheet = h('div', { class: 'rate-sheet' });
  private readonly controls = h('div', { class: 'rate-controls' });
  private readonly status = h('span', { class: 'rate-status', role: 'status', 'aria-live': 'polite' });
  private readonly hint = h('span', { class: 'rate-hint ft-quietly' }, 'Click here or press Tab to use the keys.');
  private readonly session = mint(); // this page's sitting
  private readonly watch: Stopwatch;
  private readonly outbox: Outbox;
  private readonly postman: Postman;

  constructor(private model: Model<Traits>, private channel: Channel, private signal: AbortSignal) {
    this.watch = new Stopwatch(signal);
    this.outbox = new Outbox(model.get('desk'));
    this.root = h('section', { class: 'ftlab rate', 'aria-label': 'Rate answers', tabindex: '-1' },
      this.banner, this.head, this.sheet, this.controls, h('div', { class: 'ft-row rate-foot' }, this.status, h('span', { class: 'ft-space' }), this.hint));
    this.postman = new Postman(this.outbox, channel, 'record', {
      receipt: (event, reply) => this.receipt(event, reply),
      refused: (event, reason) => this.settle(event, 'bad', `Not taken: ${reason}`),
      pending: (event, reason) => this.pending(event, reason),
    }, signal);
    channel.watch((link) => {
      this.state.link = link;
      this.drawBanner();
      this.drawControls();
    });
    const clock = setInterval(() => this.state.sent && this.drawStatus(), 250);
    signal.addEventListener('abort', () => clearInterval(clock));
  }

  /** Sends again what an earlier page, tab or kernel left behind. */
  open(): void {
    const waiting = this.outbox.entries().at(-1);
    if (waiting) this.state.sent = { event: waiting.event, at: Date.now(), reason: '', place: '' };
    void this.postman.deliver();
    this.channel.ask('open').catch(() => undefined); // the banner and the next beat say what is wrong
  }

  drawTask(): void {
    const task = this.model.get('task');
    const hadFocus = this.controls.contains(document.activeElement);
    if ((task?.assignment_id ?? '') !== this.state.assignment) {
      Object.assign(this.state, { assignment: task?.assignment_id ?? '', choice: null, writing: null, comment: '', ready: false });
      if (task) this.whenPainted(task.assignment_id);
    }
    drawHead(this.head, this.model);
    if (task) drawPair(this.sheet, task, this.state.plain);
    else drawEnd(this.sheet, this.model, () => void this.reveal());
    this.drawControls();
    if (hadFocus) this.focus();
  }

  /** The clock starts, and the buttons work, once both answers are on the screen. */
  private whenPainted(assignment: string): void {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (this.signal.aborted || this.state.assignment !== assignment) return;
      this.state.ready = true;
      this.watch.restart();
      const hadFocus = this.root.contains(document.activeElement) && !this.sheet.contains(document.activeElement);
      this.drawControls();
      if (hadFocus) this.focus();
    }));
  }

  drawControls(): void {
    const task = this.model.get('task');
    const { choice, writing, link } = this.state;
    const open = !!this.shown() && !this.busy() && link !== 'gone';
    for (const [side, name] of [['left', 'A'], ['right', 'B']] as const) {
      this.sheet.querySelector(`[data-answer="${name}"]`)?.classList.toggle('rate-chosen', choice === side);
    }
    const inside = this.controls.contains(document.activeElement) && document.activeElement?.tagName === 'BUTTON';
    const key = (document.activeElement as HTMLElement | null)?.dataset.key;
    fill(this.controls,
      task && (choice === null
        ? radios('Which answer is better?', CHOICES.map(([k, value, label]) => ({ key: k, label, act: () => this.choose(value) })), open, task.assignment_id)
        : radios(`How much better is ${choice === 'left' ? 'A' : 'B'}?`, STRENGTHS.map(([k, value, label]) => ({ key: k, label, act: () => this.commit('rate', choice, value) })), open, `${task.assignment_id}:strength`)),
      task && writing && this.field(writing, open),
      h('div', { class: 'ft-row rate-tools' },
        choice !== null && tool('Esc', 'Back', () => this.back(), open),
        tool('u', 'Undo', () => this.undo(), !!this.model.get('last') && !this.busy() && link !== 'gone', this.undoTitle()),
        task && tool('s', 'Skip', () => this.commit('skip'), open),
        task && tool('c', 'Comment', () => this.write('comment'), open, 'A remark, saved with your choice', writing === 'comment' || !!this.state.comment),
        task && tool('f', 'Flag', () => this.write('flag'), open, 'Something is wrong with this pair: it leaves the queue', writing === 'flag'),
        h('span', { class: 'ft-space' }),
        task && tool('p', 'Plain text', () => this.togglePlain(), true, 'Show the answers exactly as written', this.state.plain)));
    if (inside && !this.controls.contains(document.activeElement)) {
      (this.controls.querySelector<HTMLElement>(key ? `[data-key="${key}"]:not(:disabled)` : 'button:not(:disabled)') ?? this.root).focus({ preventScroll: true });
    }
    this.drawStatus();
  }

  private field(kind: 'comment' | 'flag', open: boolean): HTMLElement {
    const area = h('textarea', { rows: '2', maxlength: '20000', 'aria-label': kind === 'flag' ? 'What is wrong with this pair?' : 'Comment', placeholder: kind === 'flag' ? 'What is wrong with this pair?' : 'Saved together with your choice', oninput: () => { this.state.comment = area.value; } });
    area.value = this.state.comment;
    return h('div', { class: 'rate-field' }, area,
      kind === 'flag' && h('div', { class: 'ft-row' }, h('button', { type: 'button', class: 'ft-primary', disabled: !open, onclick: () => this.commit('flag') }, 'Flag this pair')));
  }

  private drawBanner(): void {
    const { link } = this.state;
    const waiting = this.outbox.entries().length;
    const kept = waiting ? ` ${waiting === 1 ? 'One choice is' : `${waiting} choices are`} kept in this browser and will be sent.` : ' Nothing is lost.';
    this.banner.hidden = link === 'live' && this.outbox.durable && !this.model.get('error');
    this.banner.classList.toggle('ft-bad', link !== 'silent');
    this.banner.classList.toggle('ft-warn', link === 'silent');
    setText(this.banner, link === 'gone' ? `Disconnected: the kernel of this cell has ended. Run the cell again to go on.${kept}`
      : link === 'silent' ? `Disconnected: the kernel does not answer; it is busy or gone.${kept}`
      : this.model.get('error') || (this.outbox.durable ? '' : 'This browser stores nothing for this page: a choice without a tick would be lost on reloading.'));
  }

  drawStatus(): void {
    const { sent, note } = this.state;
    let { tone, text } = note;
    if (sent) {
      const waited = Date.now() - sent.at;
      tone = waited >= RED_MS || sent.reason ? 'bad' : waited >= AMBER_MS ? 'warn' : '';
      text = sent.reason ? `Not saved, will retry: ${sent.reason}` : waited >= RED_MS ? 'Not saved, will retry' : waited >= AMBER_MS ? 'Still saving…' : 'Saving…';
    }
    this.status.className = `rate-status${tone ? ` ft-${tone}` : ''}`;
    setText(this.status, text);
    this.drawBanner();
  }

  /** The pair that can be judged: it is the newest that came, and both its answers are on the screen. */
  private shown(): Task | null {
    const task = this.model.get('task');
    return task && this.state.ready && task.assignment_id === this.state.assignment ? task : null;
  }

  /** Where the rater stands: it differs after every event that the store took. */
  private place(): string {
    return `${this.model.get('task')?.assignment_id}|${this.model.get('task')?.prev_event_id}|${this.model.get('last')?.event_id}`;
  }

  private busy(): boolean {
    return this.state.sent !== null || this.state.passed === this.place();
  }

  private choose(choice: Choice): void {
    if (choice === 'tie' || choice === 'both_bad') {
      this.commit('rate', choice);
      return;
    }
    this.state.choice = choice;
    this.drawControls();
    this.focus();
  }

  back(): void {
    if (this.state.writing) this.state.writing = null;
    else this.state.choice = null;
    this.drawControls();
    this.focus();
  }

  private write(kind: 'comment' | 'flag'): void {
    this.state.writing = this.state.writing === kind ? null : kind;
    this.drawControls();
    (this.controls.querySelector('textarea') ?? this.root).focus();
  }

  private togglePlain(): void {
    this.state.plain = !this.state.plain;
    const task = this.model.get('task');
    if (task) drawPair(this.sheet, task, this.state.plain);
    this.drawControls();
  }

  private commit(kind: 'rate' | 'skip' | 'flag', choice: Choice | null = null, strength: number | null = null): void {
    const task = this.shown();
    if (!task || this.busy()) return;
    this.post({
      event_id: mint(), session_id: this.session, kind, assignment_id: task.assignment_id, prev_event_id: task.prev_event_id,
      choice, strength, comment: this.state.comment.trim(), shown_ms: this.watch.read(), ...clocks(),
    });
  }

  private undo(): void {
    const last = this.model.get('last');
    if (!last || this.busy()) return;
    this.post({ event_id: mint(), session_id: this.session, kind: 'undo', assignment_id: last.assignment_id, prev_event_id: last.event_id, ...clocks() });
  }

  private async reveal(): Promise<void> {
    try {
      await this.channel.ask('reveal', {}, 30_000);
    } catch (error) {
      this.state.note = { tone: 'bad', text: `The models cannot be shown: ${(error as Error).message}` };
      this.drawStatus();
    }
  }

  private undoTitle(): string {
    const last = this.model.get('last');
    return last ? `Take back ${last.words}` : 'Nothing to take back';
  }

  private post(event: Posted): void {
    this.state.sent = { event, at: Date.now(), reason: '', place: this.place() };
    this.postman.post(event);
    this.drawControls();
  }

  private receipt(event: Posted, reply: Reply): void {
    const undone = event.kind === 'undo';
    this.settle(event, 'good', `✓ ${undone ? 'Taken back' : event.kind === 'skip' ? 'Skipped' : event.kind === 'flag' ? 'Flagged' : 'Saved'} (entry ${String(reply.seq)})`);
  }

  private settle(event: Posted, tone: Tone, text: string): void {
    if (this.state.sent?.event.event_id === event.event_id) {
      this.state.passed = tone === 'good' ? this.state.sent.place : '';
      this.state.sent = null;
    }
    this.state.note = { tone, text };
    if (event.assignment_id === this.state.assignment) this.state.choice = null;
    this.drawTask();
  }

  private pending(event: Posted, reason: string): void {
    this.state.sent ??= { event, at: Date.now(), reason, place: '' };
    this.state.sent.reason = reason;
    this.drawStatus();
  }

  /** To the first thing that can be pressed, without moving the page. */
  private focus(): void {
    (this.controls.querySelector<HTMLElement>('[role="radio"]:not(:disabled)') ?? this.root).focus({ preventScroll: true });
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === 'Escape' && (this.state.writing || this.state.choice)) {
      this.back();
      return true;
    }
    if (isTyping(event)) return false;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const target = event.target as HTMLElement;
    if (step && target.getAttribute('role') === 'radio') {
      const all = [...this.controls.querySelectorAll<HTMLElement>('[role="radio"]')];
      const next = all[(all.indexOf(target) + step + all.length) % all.length];
      for (const radio of all) radio.tabIndex = radio === next ? 0 : -1;
      next?.focus();
      return true;
    }
    const button = [...this.root.querySelectorAll<HTMLButtonElement>('button[data-key]')].find((one) => one.dataset.key === event.key.toLowerCase());
    if (button) {
      if (!event.repeat) button.click(); // a disabled button ignores it
      return true;
    }
    return event.repeat && (event.key === 'Enter' || event.key === ' '); // a key held down must not rate the next pair
  }
}

function clocks(): { client_utc: string; client_mono_ms: number } {
  return { client_utc: new Date().toISOString(), client_mono_ms: Math.round(performance.now()) };
}

function radios(legend: string, options: { key: string; label: string; act(): void }[], open: boolean, id: string): HTMLElement {
  return h('div', { class: 'rate-choices', role: 'radiogroup', 'aria-label': legend, 'data-question': id },
    h('div', { class: 'rate-question', 'aria-hidden': 'true' }, legend),
    ...options.map(({ key, label, act }, index) =>
      h('button', { type: 'button', role: 'radio', 'aria-checked': 'false', 'aria-keyshortcuts': key, 'data-key': key, tabindex: index ? '-1' : '0', disabled: !open, onclick: act },
        h('kbd', { 'aria-hidden': 'true' }, key), label)));
}

function tool(key: string, label: string, act: () => void, open: boolean, title?: string, pressed?: boolean): HTMLElement {
  return h('button', { type: 'button', class: 'ft-quiet', title, 'aria-keyshortcuts': key === 'Esc' ? 'Escape' : key, 'data-key': key === 'Esc' ? null : key, disabled: !open, 'aria-pressed': pressed === undefined ? null : String(pressed), onclick: act },
    h('kbd', { 'aria-hidden': 'true' }, key), label);
}

function drawHead(head: HTMLElement, model: Model<Traits>): void {
  const { answered, total, skipped, flagged } = model.get('progress');
  const aside = [skipped && `${skipped} skipped`, flagged && `${flagged} flagged`].filter(Boolean).join(', ');
  fill(head,
    h('div', { class: 'rate-instructions' }, model.get('instructions')),
    total > 0 && h('div', { class: 'rate-progress' },
      h('progress', { max: total, value: answered, 'aria-label': 'Progress' }),
      h('span', { class: 'ft-quietly' }, `${answered} of ${total} answered${aside && ` (${aside})`}`)));
}

function drawPair(sheet: HTMLElement, task: Task, plain: boolean): void {
  fill(sheet, conversation(task.prompt, plain), h('div', { class: 'rate-pair' }, card('A', task.left, plain), card('B', task.right, plain)));
}

function conversation(prompt: Message[], plain: boolean): HTMLElement {
  return h('div', { class: 'rate-prompt', role: 'group', 'aria-label': 'Prompt' },
    ...prompt.map(({ role, content }) => h('div', { class: 'rate-turn' }, h('div', { class: 'rate-role ft-quietly' }, role), body(content, plain || role === 'user'))));
}

function card(name: string, text: string, plain: boolean): HTMLElement {
  return h('article', { class: 'ft-card rate-card', 'data-answer': name, 'aria-label': `Answer ${name}` },
    h('div', { class: 'rate-name', 'aria-hidden': 'true' }, name),
    h('div', { class: 'rate-answer', tabindex: '0' }, text.trim() ? body(text, plain) : h('em', { class: 'ft-quietly' }, text ? '(nothing but white space)' : '(empty answer)')));
}

function body(text: string, plain: boolean): HTMLElement {
  return plain ? h('div', { class: 'ft-text' }, text) : h('div', { class: 'ft-markdown' }, markdown(text));
}

function drawEnd(sheet: HTMLElement, model: Model<Traits>, reveal: () => void): void {
  const { answered, total } = model.get('progress');
  const standings = model.get('standings');
  fill(sheet, h('div', { class: 'rate-end' },
    h('p', {}, h('strong', {}, answered === total ? `All ${total} pairs are answered. Thank you!` : 'No pair is open for you at the moment.')),
    standings.length
      ? h('div', { class: 'rate-standings' }, h('table', {},
        h('thead', {}, h('tr', {}, ...['Preferred', 'to', 'Won', 'Lost', 'Tied', 'Share', 'n'].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ...standings.map((row) => h('tr', {}, ...[row.a, row.b, row.wins, row.losses, row.ties, row.rate, row.n].map((cell) => h('td', {}, cell)))))),
      h('p', { class: 'ft-quietly' }, 'All raters of this batch. A tie counts half for each; the interval is Wilson’s at 90 %.'))
      : answered > 0 && h('div', {}, h('p', { class: 'ft-quietly' }, 'The models have been hidden so far. What you change after seeing them is marked as such.'),
        h('button', { type: 'button', class: 'ft-primary', 'data-key': 'm', 'aria-keyshortcuts': 'm', onclick: reveal }, h('kbd', { 'aria-hidden': 'true' }, 'm'), 'Show the models'))));
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const desk = new Desk(model, channel, signal);
    ownKeys(desk.root, (event) => desk.key(event), signal);
    observe(model, ['task', 'progress', 'last', 'standings', 'instructions'], () => desk.drawTask(), signal);
    observe(model, ['error'], () => desk.drawStatus(), signal);
    el.append(desk.root);
    desk.open();
  },
};
