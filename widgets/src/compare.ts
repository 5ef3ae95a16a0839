/** The same prompt, several models, side by side: what each says, how it differs, and which weights said it. */
import { Channel, CommandError, type Link } from './lib/channel';
import { duration } from './lib/chart';
import { copied } from './lib/clipboard';
import { diff, likeness } from './lib/diff';
import { fill, h, setText, type Child } from './lib/dom';
import { keepFocus } from './lib/focus';
import { isTyping, ownKeys } from './lib/keys';
import { markdown } from './lib/markdown';
import { observe, type Model, type Scene } from './lib/model';

interface Message { role: string; content: string }
interface Verdict { score: number; label: string }
interface Answer {
  text: string;
  tokens: number | null;
  finish: 'end' | 'length' | 'cancelled' | 'broken off';
  seconds: number | null;
  heading: string;
  weights: string;
  details: Record<string, string>;
  verdict: Verdict | null;
}
interface Settings { max_new_tokens: number; temperature: number; top_p: number; seed: number }

/** Mirrors the synced traits of ftlab/widgets/compare.py. */
interface Traits {
  models: string[];
  prompts: Message[][];
  settings: Settings;
  answers: Record<string, Answer>[];
  partial: Record<string, Record<string, string>>;
  note: string;
  state: 'idle' | 'running' | 'cancelling';
  progress: { done?: number; total?: number };
  batch: string;
  error: string;
}

const SETTINGS: { name: keyof Settings; label: string; title: string; min: number; max: number; step: number }[] = [
  { name: 'temperature', label: 'Temperature', title: '0 always takes the likeliest token', min: 0, max: 5, step: 0.1 },
  { name: 'max_new_tokens', label: 'Most tokens', title: 'The longest an answer may get', min: 1, max: 4096, step: 1 },
  { name: 'seed', label: 'Seed', title: 'The same for every column', min: 0, max: 2 ** 31 - 1, step: 1 },
];
const TOO_FEW = 0.25; // share of words in common below which marks are confetti
const FINISH: Record<Answer['finish'], string> = { end: 'ended by itself', length: 'cut at the limit', cancelled: 'cancelled', 'broken off': 'broken off' };

/** One column; it is kept while its text changes, so that focus, selection and unfolded proofs stay. */
class Pane {
  readonly root: HTMLElement;
  private readonly proof = h('div', { class: 'cmp-proof' });
  private readonly same = h('div', { class: 'cmp-same', hidden: true });
  private readonly details = h('table', {});
  private readonly more = h('details', { class: 'cmp-more' }, h('summary', {}, 'Proof'), this.details);
  private readonly body = h('div', { class: 'cmp-body', tabindex: '0' });
  private readonly foot = h('span', { class: 'ft-quietly' });
  private readonly verdict = h('span', { class: 'cmp-verdict', hidden: true });
  private readonly copy: HTMLButtonElement;
  private text = '';

  constructor(readonly reference: string, private signal: AbortSignal) {
    this.copy = h('button', { type: 'button', class: 'ft-quiet', 'aria-label': `Copy the answer of ${reference}`, onclick: () => void this.copyText() }, 'Copy');
    this.body.setAttribute('aria-label', `Answer of ${reference}`);
    this.root = h('article', { class: 'ft-card cmp-pane', 'aria-label': reference, 'data-reference': reference },
      h('header', { class: 'cmp-head' }, h('div', { class: 'cmp-name' }, reference), this.proof, this.same, this.more),
      this.body, h('footer', { class: 'cmp-foot' }, this.foot, this.verdict, this.copy));
  }

  draw(answer: Answer | undefined, partial: string | undefined, waiting: boolean, twin: string, draw: (text: string) => Child[]): void {
    this.text = answer?.text ?? partial ?? '';
    setText(this.proof, answer ? answer.heading || 'no proof: not finished' : '');
    this.same.hidden = !twin;
    setText(this.same, twin ? `Same weights as ${twin}` : '');
    this.more.hidden = !answer || !Object.keys(answer.details).length;
    if (answer) fill(this.details, ...Object.entries(answer.details).map(([name, value]) => h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, value))));
    this.copy.hidden = !this.text;
    this.body.setAttribute('aria-busy', String(!answer && waiting));
    if (answer) fill(this.body, ...(answer.text.trim() ? draw(answer.text) : [h('em', { class: 'ft-quietly' }, answer.text ? '(nothing but white space)' : '(empty answer)')]));
    else if (partial !== undefined) fill(this.body, h('div', { class: 'ft-text' }, partial, h('span', { class: 'cmp-caret', 'aria-hidden': 'true' })));
    else fill(this.body, h('span', { class: 'ft-quietly' }, waiting ? 'Waiting for its turn…' : 'No answer yet'));
    setText(this.foot, answer ? figures(answer) : '');
    this.verdict.hidden = !answer?.verdict;
    if (answer?.verdict) {
      const { score, label } = answer.verdict;
      const good = score > 0;
      setText(this.verdict, `${good ? '✓' : '✗'} ${label || Number(score.toFixed(2))}`);
      this.verdict.title = `Judge's score: ${Number(score.toFixed(3))}; above 0 is good`;
      this.verdict.classList.toggle('ft-good', good);
      this.verdict.classList.toggle('ft-bad', !good);
    }
  }

  private async copyText(): Promise<void> {
    const done = await copied(this.text, this.root);
    setText(this.copy, done ? 'Copied' : 'Select and copy by hand');
    const timer = setTimeout(() => setText(this.copy, 'Copy'), 1500);
    this.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }
}

class Bench {
  readonly root: HTMLElement;
  private at = 0;
  private readonly drafts = new Map<number, { question?: string; system?: string }>();
  private against = '';
  private marking = true;
  private formatted = false;
  private ruleShown = false; // unfolded by itself once; folding it again is the person's choice
  private link: Link = 'live';
  private panes: Pane[] = [];
  private note: { tone: string; content: Child[] } = { tone: '', content: [] };

  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly place = h('span', { class: 'cmp-place', 'aria-live': 'polite' });
  private readonly before: HTMLButtonElement;
  private readonly after: HTMLButtonElement;
  private readonly turns = h('div', { class: 'cmp-turns' });
  private readonly system: HTMLTextAreaElement;
  private readonly rule: HTMLDetailsElement;
  private readonly question: HTMLTextAreaElement;
  private readonly ask: HTMLButtonElement;
  private readonly all: HTMLButtonElement;
  private readonly cancel: HTMLButtonElement;
  private readonly reroll: HTMLButtonElement;
  private readonly inputs = new Map<keyof Settings, HTMLInputElement>();
  private readonly marks: HTMLButtonElement;
  private readonly format: HTMLButtonElement;
  private readonly origin = h('select', { 'aria-label': 'Compare the words with' });
  private readonly legend = h('div', { class: 'cmp-legend ft-quietly' });
  private readonly grid = h('div', { class: 'cmp-grid' });
  private readonly rate: HTMLButtonElement;
  private readonly status = h('span', { class: 'cmp-status', role: 'status', 'aria-live': 'polite' });

  constructor(private model: Model<Traits>, private channel: Channel, private signal: AbortSignal) {
    this.before = button('‹', () => this.step(-1), { 'aria-label': 'Previous prompt', class: 'ft-quiet' });
    this.after = button('›', () => this.step(1), { 'aria-label': 'Next prompt', class: 'ft-quiet' });
    this.system = h('textarea', { rows: '2', 'aria-label': 'System rule', placeholder: 'Said to every model before the prompt, such as: Answer in one sentence.', oninput: () => this.draft('system', this.system.value) });
    this.rule = h('details', { class: 'cmp-rule' }, h('summary', {}, 'System rule'), this.system);
    this.question = h('textarea', { rows: '2', 'aria-label': 'Prompt', placeholder: 'Ask all of them the same', oninput: () => this.draft('question', this.question.value) });
    this.ask = button('Answer', () => this.run([this.at]), { class: 'ft-primary', title: 'Ctrl+Enter', 'aria-keyshortcuts': 'Control+Enter' }, 'Answer', h('kbd', { 'aria-hidden': 'true' }, 'Ctrl ⏎'));
    this.all = button('Answer all prompts', () => this.run(null));
    this.cancel = button('Cancel', () => void this.command('cancel'), { 'aria-keyshortcuts': 'Escape' }, 'Cancel', h('kbd', { 'aria-hidden': 'true' }, 'Esc'));
    this.reroll = button('New seed', () => this.rerollSeed(), { title: 'Draw another seed and answer again' });
    this.marks = button('Differences', () => this.toggle('marking'), { class: 'ft-quiet', title: 'Mark the words in which the answers differ' });
    this.format = button('Markdown', () => this.toggle('formatted'), { class: 'ft-quiet', title: 'Show finished answers with their formatting' });
    this.origin.addEventListener('change', () => {
      this.against = this.origin.value;
      this.drawPanes();
    });
    this.rate = button('Rate these', () => void this.rateThese());
    this.root = h('section', { class: 'ftlab cmp', 'aria-label': 'Compare models', tabindex: '-1' },
      this.banner,
      h('div', { class: 'ft-row cmp-steps' }, this.before, this.place, this.after, button('+ Prompt', () => this.add(), { class: 'ft-quiet', title: 'Another prompt of your own' })),
      this.turns, this.question, this.rule,
      h('div', { class: 'ft-row cmp-controls' }, this.ask, this.all, this.cancel, h('span', { class: 'ft-space' }),
        ...SETTINGS.map((one) => this.setting(one)), this.reroll),
      h('div', { class: 'ft-row cmp-tools' }, this.marks, this.origin, h('span', { class: 'ft-space' }), this.format), this.legend,
      this.grid,
      h('div', { class: 'ft-row cmp-end' }, this.status, h('span', { class: 'ft-space' }), this.rate));
    channel.watch((link) => {
      this.link = link;
      this.draw();
    });
  }

  private setting({ name, label, title, min, max, step }: (typeof SETTINGS)[number]): HTMLElement {
    const input = h('input', { type: 'number', min, max, step, title });
    this.inputs.set(name, input);
    return h('label', { class: 'cmp-setting', title }, h('span', {}, label), input);
  }

  /** The settings came from the kernel: what is being typed stays. */
  drawSettings(): void {
    const settings = this.model.get('settings');
    for (const [name, input] of this.inputs) if (input !== document.activeElement) input.value = String(settings[name]);
  }

  draw(): void {
    this.drawBanner();
    this.drawPrompt();
    this.drawPanes();
    this.drawControls();
  }

  private drawBanner(): void {
    const error = this.model.get('error');
    this.banner.hidden = this.link === 'live' && !error;
    setText(this.banner, this.link === 'gone' ? 'Disconnected: the kernel of this cell has ended. Run the cell again to go on.'
      : this.link === 'silent' ? 'Disconnected: the kernel does not answer; it is busy or gone.' : error);
  }

  private drawPrompt(): void {
    const count = Math.max(this.model.get('prompts').length, this.at + 1);
    setText(this.place, count > 1 ? `Prompt ${this.at + 1} of ${count}` : 'Prompt');
    this.before.disabled = this.at === 0;
    this.after.disabled = this.at >= count - 1;
    this.before.hidden = this.after.hidden = count < 2;
    const { system, middle, question } = this.now();
    for (const [area, text] of [[this.question, question], [this.system, system]] as const) if (area.value !== text) area.value = text;
    if (system && !this.ruleShown) this.rule.open = this.ruleShown = true;
    fill(this.turns, ...middle.map(({ role, content }) => h('div', { class: 'cmp-turn' }, h('span', { class: 'ft-quietly' }, role), h('div', { class: 'ft-text' }, content))));
  }

  /** The prompt in the box: what the kernel has, with what was typed since. */
  private now(): { system: string; middle: Message[]; question: string } {
    const messages = this.model.get('prompts')[this.at] ?? this.blank();
    const first = messages[0];
    const has = first?.role === 'system' && messages.length > 1;
    const draft = this.drafts.get(this.at);
    return {
      system: draft?.system ?? (has ? first.content : ''),
      middle: messages.slice(has ? 1 : 0, -1),
      question: draft?.question ?? messages.at(-1)?.content ?? '',
    };
  }

  /** A new prompt keeps the rule of the first one. */
  private blank(): Message[] {
    const rule = this.model.get('prompts')[0]?.filter(({ role }) => role === 'system') ?? [];
    return [...rule, { role: 'user', content: '' }];
  }

  private draft(part: 'question' | 'system', text: string): void {
    this.drafts.set(this.at, { ...this.drafts.get(this.at), [part]: text });
  }

  drawPanes(): void {
    const models = this.model.get('models');
    if (models.length !== this.panes.length || models.some((name, n) => this.panes[n]?.reference !== name)) {
      this.panes = models.map((name) => new Pane(name, this.signal));
      fill(this.grid, ...this.panes.map((pane) => pane.root));
      fill(this.origin, ...models.map((name) => h('option', { value: name }, `against ${name}`)));
    }
    if (!models.includes(this.against)) this.against = models[0] ?? '';
    this.origin.value = this.against;
    const answers = this.model.get('answers')[this.at] ?? {};
    const partial = this.model.get('partial')[String(this.at)] ?? {};
    const waiting = this.model.get('state') !== 'idle';
    const shared: string[] = [];
    let marked = false;
    for (const pane of this.panes) {
      const answer = answers[pane.reference];
      const twin = answer?.weights ? models.find((name) => name !== pane.reference && answers[name]?.weights === answer.weights) : undefined;
      pane.draw(answer, partial[pane.reference], waiting, twin ?? '', (text) => {
        const origin = answers[this.against];
        if (this.marking && origin && pane.reference !== this.against) {
          const pieces = diff(origin.text, text);
          const share = likeness(pieces);
          shared.push(`${pane.reference}: ${Math.round(100 * share)} % of the words shared${share < TOO_FEW ? ', too few to mark' : ''}`);
          marked ||= share >= TOO_FEW && share < 1;
          if (share < TOO_FEW) return [h('div', { class: 'ft-text' }, text)];
          return [h('div', { class: 'ft-text cmp-diff' }, ...pieces.map(({ kind, text: part }) => kind === 'same' ? part : kind === 'added' ? h('ins', {}, part) : h('del', {}, part)))];
        }
        return [this.formatted ? h('div', { class: 'ft-markdown' }, markdown(text)) : h('div', { class: 'ft-text' }, text)];
      });
    }
    this.origin.hidden = this.legend.hidden = !this.marking || models.length < 2;
    fill(this.legend, ...(marked ? [h('ins', {}, 'only here'), ' ', h('del', {}, `only in ${this.against}`), ' · '] : []), shared.join(' · '));
  }

  drawControls(): void {
    const focused = document.activeElement;
    const state = this.model.get('state');
    const idle = state === 'idle';
    const prompts = this.model.get('prompts');
    const open = idle && this.link !== 'gone';
    this.ask.disabled = this.reroll.disabled = this.all.disabled = !open;
    this.all.hidden = prompts.length < 2;
    this.cancel.hidden = idle;
    this.cancel.disabled = state === 'cancelling' || this.link === 'gone';
    this.marks.hidden = this.model.get('models').length < 2;
    this.marks.setAttribute('aria-pressed', String(this.marking));
    this.format.setAttribute('aria-pressed', String(this.formatted));
    const answered = this.model.get('answers').filter((row) => Object.keys(row).length > 1).length;
    this.rate.disabled = !open || !answered;
    this.rate.hidden = this.model.get('models').length < 2;
    setText(this.rate, answered > 1 ? `Rate these ${answered} prompts` : 'Rate these');
    const { done = 0, total = 0 } = this.model.get('progress');
    if (!idle) fill(this.status, state === 'cancelling' ? 'Cancelling…' : this.model.get('note') ? this.model.get('note') : total > 1 ? `${done} of ${total} answers` : 'Answering…');
    else fill(this.status, ...this.note.content);
    this.status.className = `cmp-status${idle && this.note.tone ? ` ft-${this.note.tone}` : ''}`;
    keepFocus(this.root, focused);
  }

  private toggle(what: 'marking' | 'formatted'): void {
    this[what] = !this[what];
    if (what === 'formatted' && this.formatted) this.marking = false; // marks are drawn on plain text
    if (what === 'marking' && this.marking) this.formatted = false;
    this.drawPanes();
    this.drawControls();
  }

  private step(by: number): void {
    const last = Math.max(this.model.get('prompts').length - 1, this.at);
    this.at = Math.min(last, Math.max(0, this.at + by));
    this.draw();
  }

  private add(): void {
    this.at = this.model.get('prompts').length;
    this.draw();
    this.question.focus();
  }

  private rerollSeed(): void {
    const seed = this.inputs.get('seed');
    if (seed) seed.value = String(Math.floor(Math.random() * 100_000));
    this.run([this.at]);
  }

  runShown(): void {
    this.run([this.at]);
  }

  /** Sends what was typed and asks for answers; null: to every prompt. */
  run(indexes: number[] | null): void {
    if (this.model.get('state') !== 'idle') return;
    const settings: Partial<Settings> = {};
    for (const [name, input] of this.inputs) {
      if (!input.reportValidity() || input.value === '') return;
      settings[name] = Number(input.value);
    }
    const edits: Record<string, Message[]> = {};
    const kept = this.at;
    for (const place of [...this.drafts.keys()].sort((a, b) => a - b)) {
      this.at = place;
      const { system, middle, question } = this.now();
      edits[place] = [...(system.trim() ? [{ role: 'system', content: system }] : []), ...middle, { role: 'user', content: question }];
    }
    this.at = kept;
    void this.command('run', { settings, edits, ...(indexes && { indexes }) }).then((taken) => {
      if (taken) this.drafts.clear();
    });
  }

  private async rateThese(): Promise<void> {
    const reply = await this.command('rate');
    if (!reply) return;
    const { added, known, refused, unfit, batch, call } = reply as unknown as { added: number; known: number; refused: string[]; unfit: number; batch: string; call: string };
    const parts = [
      added && `${added} ${added === 1 ? 'pair' : 'pairs'} added to the batch “${batch}”`,
      known && `${known} already there`,
      refused.length && `${refused.length} left out: both answers are the same text`,
      unfit && `${unfit} without a finished answer`,
    ].filter(Boolean);
    this.say(added || known ? 'good' : 'warn', `${parts.join(', ')}. `, ...(added || known ? ['Rate them with ', h('code', {}, call)] : []));
  }

  /** The reply, or null after telling why there is none. */
  private async command(type: string, body: Record<string, unknown> = {}): Promise<Record<string, unknown> | null> {
    this.say('');
    try {
      return await this.channel.ask(type, body);
    } catch (error) {
      this.say('bad', error instanceof CommandError ? error.message : `No answer from the kernel: ${(error as Error).message}. It may be busy; try again.`);
      return null;
    }
  }

  private say(tone: string, ...content: Child[]): void {
    this.note = { tone, content };
    this.drawControls();
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === 'Escape' && this.model.get('state') === 'running') {
      void this.command('cancel');
      return true;
    }
    if (isTyping(event)) return false;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && this.model.get('prompts').length > 1) {
      this.step(by);
      return true;
    }
    return false;
  }
}

function button(label: string, act: () => void, properties: Record<string, unknown> = {}, ...children: Child[]): HTMLButtonElement {
  return h('button', { type: 'button', onclick: act, ...properties }, ...(children.length ? children : [label]));
}

function figures({ tokens, seconds, finish }: Answer): string {
  const parts = [FINISH[finish] ?? finish];
  if (tokens !== null) parts.unshift(`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`);
  if (seconds !== null) parts.splice(1, 0, seconds < 60 ? `${seconds.toFixed(2)} s` : duration(seconds));
  return parts.join(' · ');
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const bench = new Bench(model, channel, signal);
    bench.root.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      bench.runShown();
    }, { signal });
    ownKeys(bench.root, (event) => bench.key(event), signal);
    observe(model, ['settings'], () => bench.drawSettings(), signal);
    observe(model, ['models', 'prompts', 'answers', 'partial', 'state', 'progress', 'note', 'error'], () => bench.draw(), signal);
    el.append(bench.root);
  },
};
