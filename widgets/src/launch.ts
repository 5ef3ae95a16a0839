/** The form that configures a run, tells what it would do, and starts it. */
import { walk } from './lib/button';
import { Channel, CommandError, type Link } from './lib/channel';
import { copied } from './lib/clipboard';
import { fill, h, setText } from './lib/dom';
import { keepFocus } from './lib/focus';
import { Field, fieldAt, place, type Change, type Form } from './lib/form/field';
import { labelOf, type Schema } from './lib/form/schema';
import { at, type Tree } from './lib/form/tree';
import { mint } from './lib/id';
import { ownKeys } from './lib/keys';
import { observe, type Model, type Scene } from './lib/model';
import { Stage } from './lib/stage';

interface Finding { level: 'error' | 'warning' | 'note'; field: string; text: string }
interface Preflight { state?: 'none' | 'checking' | 'done' | 'failed'; lines?: string[]; findings?: Finding[]; fits?: boolean | null; advice?: string[]; error?: string }

/** Mirrors the synced traits of ftlab/widgets/launch.py. */
interface Traits {
  schema: Schema;
  draft: Tree;
  defaults: Tree;
  faults: Record<string, string>;
  sheet: { front: string[]; groups: { title: string; paths: string[] }[]; folded: string[]; unused: string[] };
  methods: { kind: string; title: string; about: string }[];
  labels: Record<string, string>;
  presets: { title: string; about: string }[];
  suggestions: Record<string, { value: string; about: string }[]>;
  texts: Record<string, string>;
  preflight: Preflight;
  started: number;
  run_name: string;
  note: string;
  view: string;
  error: string;
}

const TYPING_MS = 250;
const PATIENCE_MS = 20_000; // a start may have to wait for the process that trains
const TABS: [string, string][] = [['python', 'Python'], ['yaml', 'YAML'], ['shell', 'Shell'], ['script', 'TRL script']];
const SIGNS: Record<Finding['level'], [string, string]> = { error: ['✗', 'ft-bad'], warning: ['⚠', 'ft-warn'], note: ['·', 'ft-quietly'] };

/** The texts of the form, to be copied or given back. */
class Texts {
  readonly root: HTMLElement;
  private shown = 'python';
  private script: string | null = null;
  private isOwn = false; // somebody typed or pasted here; the form's own text must not replace it
  private readonly tabs: HTMLButtonElement[];
  private readonly area: HTMLTextAreaElement;
  private readonly told = h('div', { class: 'la-told', role: 'status' });
  private readonly late = h('div', { class: 'la-told ft-warn', role: 'status', hidden: true }, 'As it was before the mistake; it follows again once all fields fit.');
  private readonly copy = h('button', { type: 'button', onclick: () => void this.toClipboard() }, 'Copy');
  private readonly take = h('button', { type: 'button', class: 'ft-primary', hidden: true, onclick: () => void this.giveBack() }, 'Fill the form');
  private readonly undo = h('button', { type: 'button', class: 'ft-quiet', hidden: true, onclick: () => this.reset() }, 'Discard');

  constructor(id: string, private texts: () => Record<string, string>, private ask: (type: string, body?: Record<string, unknown>) => Promise<Record<string, unknown>>) {
    this.area = h('textarea', { id: `${id}-text`, class: 'la-code', rows: 9, spellcheck: 'false', wrap: 'off', oninput: () => this.typed() });
    this.tabs = TABS.map(([name, title]) => h('button', { type: 'button', role: 'tab', id: `${id}-tab-${name}`, class: 'ft-quiet', 'data-name': name, 'aria-controls': `${id}-panel`, onclick: () => this.show(name) }, title));
    this.root = h('section', { class: 'la-texts', 'aria-label': 'The same as text' },
      h('div', { class: 'la-tabs', role: 'tablist', 'aria-label': 'As text', 'data-walk': true }, ...this.tabs),
      h('div', { role: 'tabpanel', id: `${id}-panel`, class: 'la-panel' }, this.area, h('div', { class: 'ft-row la-tools' }, this.copy, this.take, this.undo)), this.late, this.told);
    this.show('python');
  }

  draw(): void {
    this.script = null;
    if (this.shown === 'script') void this.eject();
    else if (!this.isOwn) this.area.value = this.texts()[this.shown] ?? '';
  }

  /** While a field does not fit there is no configuration that could be written out. */
  drawLate(isLate: boolean): void {
    this.late.hidden = !isLate;
  }

  private show(name: string): void {
    this.shown = name;
    this.reset();
    this.tabs.forEach((tab) => {
      const chosen = tab.dataset.name === name;
      tab.setAttribute('aria-selected', String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) this.area.closest('[role=tabpanel]')?.setAttribute('aria-labelledby', tab.id);
    });
    const title = TABS.find(([one]) => one === name)?.[1] ?? name;
    this.area.setAttribute('aria-label', name === 'script' ? 'The run as a script without ftlab' : `The form as ${title}; edit or paste here to fill the form`);
    this.area.readOnly = name === 'script';
  }

  private reset(): void {
    this.isOwn = false;
    this.tell('');
    this.offer();
    if (this.shown === 'script') void this.eject();
    else this.area.value = this.texts()[this.shown] ?? '';
  }

  private typed(): void {
    this.isOwn = this.area.value !== this.texts()[this.shown];
    this.tell('');
    this.offer();
  }

  private offer(): void {
    this.take.hidden = this.undo.hidden = !this.isOwn;
  }

  private async eject(): Promise<void> {
    this.area.value = this.script ?? '# …';
    if (this.script !== null) return;
    try {
      this.script = String((await this.ask('eject')).text);
      if (this.shown === 'script') this.area.value = this.script;
    } catch (error) {
      if (this.shown === 'script') this.area.value = `# ${(error as Error).message.replaceAll('\n', '\n# ')}`;
    }
  }

  private async giveBack(): Promise<void> {
    try {
      await this.ask('paste', { text: this.area.value });
      this.isOwn = false;
      this.offer();
      this.area.value = this.texts()[this.shown] ?? '';
      this.area.focus();
      this.tell('✓ The form is filled.', 'ft-good');
    } catch (error) {
      this.tell((error as Error).message, 'ft-bad');
    }
  }

  private async toClipboard(): Promise<void> {
    const done = await copied(this.area.value, this.root);
    this.copy.focus();
    this.tell(done ? '✓ Copied.' : 'The browser does not allow copying; select the text and copy it yourself.', done ? 'ft-good' : 'ft-bad');
  }

  private tell(text: string, tone = ''): void {
    this.told.className = `la-told ${tone}`;
    setText(this.told, text);
  }
}

class Sheet implements Form {
  readonly id = `la-${mint().slice(0, 8)}`;
  readonly root: HTMLElement;
  private link: Link = 'live';
  private refusal = '';
  private starting = false;
  private isAwaited = false; // the run was started here, so its view is what is looked for
  private readonly known = new Map<string, Field>();
  private readonly pending = new Map<string, Change>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sending: Promise<void> = Promise.resolve();

  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly preset = h('select', { id: `${this.id}-preset`, onchange: () => void this.begin() });
  private readonly presetTold = h('span', { class: 'la-help la-preset-told' });
  private readonly restart = h('button', { type: 'button', class: 'ft-quiet', title: 'The form as it was when the cell ran', onclick: () => void this.command('reset') }, 'Reset');
  private readonly cards = h('div', { class: 'la-cards' });
  private readonly front = h('div', { class: 'la-grid' });
  private readonly groups = h('div', { class: 'la-groups' });
  private readonly count = h('div', { class: 'la-count', role: 'status' });
  private readonly wrong = h('ul', { class: 'la-wrong' });
  private readonly foretold = h('ul', { class: 'la-lines' });
  private readonly findings = h('ul', { class: 'la-findings' });
  private readonly checking = h('p', { class: 'ft-quietly la-checking', hidden: true }, 'Looking it over…');
  private readonly start = h('button', { type: 'button', class: 'ft-primary la-start', 'aria-keyshortcuts': 'Control+Enter', onclick: () => void this.launch() });
  private readonly startWords = h('span', {}, 'Start');
  private readonly texts: Texts;
  private readonly runTold = h('p', { class: 'la-run-told', role: 'status' });
  private readonly stage: Stage;
  private readonly below = h('section', { class: 'la-run', 'aria-label': 'The run', hidden: true }, this.runTold);

  constructor(private model: Model<Traits>, private channel: Channel, signal: AbortSignal) {
    this.stage = new Stage(model, signal);
    this.below.append(this.stage.root);
    fill(this.start, h('kbd', { 'aria-hidden': 'true' }, 'Ctrl ⏎'), this.startWords);
    this.texts = new Texts(this.id, () => model.get('texts'), async (type, body) => {
      await this.flush();
      return channel.ask(type, body ?? {});
    });
    const side = h('div', { class: 'la-side' },
      h('section', { class: 'la-plan', 'aria-label': 'Before the start' }, h('h3', {}, 'Before the start'), this.count, this.wrong, this.foretold, this.findings, this.checking, this.start),
      this.texts.root);
    this.root = h('section', { class: 'ftlab la', 'aria-label': 'Launch a run', tabindex: '-1' },
      this.banner,
      h('div', { class: 'ft-row la-head' }, h('label', { for: this.preset.id }, 'Begin with'), this.preset, this.restart, this.presetTold),
      h('div', { class: 'la-body' },
        h('div', { class: 'la-form' },
          h('fieldset', { class: 'la-methods' }, h('legend', {}, 'Method'), this.cards), this.front, this.groups),
        side),
      this.below);
    channel.watch((link) => {
      this.link = link;
      this.drawState();
    });
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  // What fields ask

  get schema(): Schema {
    return this.model.get('schema');
  }

  get labels(): Record<string, string> {
    return this.model.get('labels');
  }

  draft(): Tree {
    return this.model.get('draft');
  }

  defaults(): Tree {
    return this.model.get('defaults');
  }

  faults(): Record<string, string> {
    return this.model.get('faults');
  }

  suggestions(path: string): { value: string; about: string }[] {
    return this.model.get('suggestions')[path] ?? [];
  }

  isAhead(path: string): boolean {
    return this.pending.has(path);
  }

  standing(path: string): 'shown' | 'folded' | 'unused' {
    const { folded, unused } = this.model.get('sheet');
    return unused.includes(path) ? 'unused' : folded.includes(path) ? 'folded' : 'shown';
  }

  field(path: string): Field | null {
    return fieldAt(this, path, this.known);
  }

  change(change: Change, soon: boolean): void {
    this.pending.delete(change.path);
    this.pending.set(change.path, change);
    clearTimeout(this.timer);
    if (soon) this.timer = setTimeout(() => void this.flush(), TYPING_MS);
    else void this.flush();
  }

  /** Sends what Python does not know yet, one batch after the other, so that the last word is the latest. */
  private flush(): Promise<void> {
    clearTimeout(this.timer);
    this.sending = this.sending.then(async () => {
      const changes = [...this.pending.values()];
      if (!changes.length) return;
      try {
        await this.channel.ask('edit', { changes });
        this.refusal = '';
      } catch (error) {
        this.refuse(error, 'The change may be lost');
      }
      for (const change of changes) if (this.pending.get(change.path) === change) this.pending.delete(change.path);
      this.draw();
    });
    return this.sending;
  }

  // What is drawn

  drawPresets(): void {
    fill(this.preset, h('option', { value: '' }, 'a preset…'), ...this.model.get('presets').map(({ title }) => h('option', { value: title }, title)));
  }

  drawMethods(): void {
    const name = `${this.id}-method`;
    fill(this.cards, ...this.model.get('methods').map(({ kind, title, about }) => {
      const input = h('input', { type: 'radio', name, value: kind, 'aria-labelledby': `${this.id}-kind-${kind}`, 'aria-describedby': `${this.id}-about-${kind}`, onchange: () => this.change({ path: 'method', kind }, false) });
      return h('label', { class: 'la-card' }, input, h('span', { class: 'la-card-title', id: `${this.id}-kind-${kind}` }, title), h('span', { class: 'la-card-about', id: `${this.id}-about-${kind}` }, about));
    }));
  }

  draw(): void {
    const focused = document.activeElement;
    const kind = at(this.draft(), 'method.kind');
    if (!this.pending.has('method')) for (const input of this.cards.querySelectorAll('input')) input.checked = input.value === kind;
    const { front, groups } = this.model.get('sheet');
    place(this.front, this.roots(front));
    const folds = groups.map(({ title, paths }) => this.fold(title, paths));
    place(this.groups, folds);
    const fields = [...front, ...groups.flatMap(({ paths }) => paths)].map((path) => this.field(path)).filter((field): field is Field => !!field);
    for (const field of fields) field.draw();
    this.drawFolds();
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.root.contains(focused)) focused.focus({ preventScroll: true });
    else if (focused && !focused.isConnected) this.root.focus({ preventScroll: true });
    this.drawState();
  }

  private roots(paths: string[]): HTMLElement[] {
    return paths.map((path) => this.field(path)?.root).filter((root): root is HTMLElement => !!root);
  }

  private readonly folds = new Map<string, { root: HTMLDetailsElement; grid: HTMLElement; told: HTMLElement }>();

  private fold(title: string, paths: string[]): HTMLElement {
    let fold = this.folds.get(title);
    if (!fold) {
      const [grid, told] = [h('div', { class: 'la-grid' }), h('span', { class: 'la-fold-told' })];
      fold = { root: h('details', { class: 'la-fold' }, h('summary', {}, h('span', {}, `More: ${title}`), told), grid), grid, told };
      this.folds.set(title, fold);
    }
    place(fold.grid, this.roots(paths));
    return fold.root;
  }

  /** What lies folded must not be forgotten: how much differs there, and open where something is wrong. */
  private drawFolds(): void {
    for (const { root, told } of this.folds.values()) {
      const marked = root.querySelectorAll('.la-mark:not([hidden])').length;
      const wrong = root.querySelectorAll('.la-fault:not([hidden])').length;
      setText(told, [marked && `${marked} changed`, wrong && `${wrong} to mend`].filter(Boolean).join(', '));
      if (wrong) root.open = true;
    }
  }

  drawState(): void {
    const focused = document.activeElement;
    const faults = Object.entries(this.faults());
    const many = faults.length;
    setText(this.count, many ? `✗ ${many} field${many === 1 ? '' : 's'} to mend` : '');
    this.count.hidden = !many;
    fill(this.wrong, ...faults.map(([path, text]) => h('li', {}, this.pointer(path), h('span', {}, text))));
    this.drawPreflight(many > 0);
    this.texts.drawLate(many > 0);
    const hasErrors = this.model.get('preflight').findings?.some(({ level }) => level === 'error') ?? false;
    this.start.disabled = many > 0 || this.starting || this.link === 'gone';
    setText(this.startWords, this.starting ? 'Starting…' : hasErrors ? 'Start anyway' : this.model.get('started') ? 'Start another' : 'Start');
    const error = this.refusal || this.model.get('error');
    this.banner.hidden = this.link === 'live' && !error;
    setText(this.banner, this.link === 'gone' ? 'Disconnected: the kernel of this cell has ended; run the cell again.'
      : this.link === 'silent' ? 'Disconnected: the kernel does not answer; it is busy or gone.' : error);
    keepFocus(this.root, focused);
  }

  private drawPreflight(isFaulty: boolean): void {
    const { state = 'none', lines = [], findings = [], fits, advice = [], error = '' } = this.model.get('preflight');
    const isKnown = !isFaulty && state !== 'none';
    this.checking.hidden = !isKnown || state !== 'checking';
    fill(this.foretold, ...(isKnown ? lines.map((line) => h('li', {}, line)) : []));
    this.foretold.classList.toggle('la-stale', state === 'checking');
    const told: Finding[] = [...findings, ...(error ? [{ level: 'warning' as const, field: '', text: `No forecast: ${error}` }] : []), ...(fits === false ? [{ level: 'error' as const, field: '', text: 'It does not fit into the memory of this machine.' }] : []), ...advice.map((text) => ({ level: 'note' as const, field: '', text: `Would fit: ${text}` }))];
    fill(this.findings, ...(isKnown ? told.map(({ level, field, text }) => {
      const [sign, tone] = SIGNS[level] ?? SIGNS.note;
      return h('li', { class: tone }, h('span', { 'aria-hidden': 'true' }, sign), h('span', {}, h('span', { class: 'ft-unseen' }, `${level}: `), field && this.pointer(field), h('span', {}, text)));
    }) : []));
  }

  /** A field's name that leads there. */
  private pointer(path: string): HTMLElement {
    const words = path.split('.').length > 2 ? path.split('.').slice(1).map((_, n, all) => labelOf(path.split('.').slice(0, n + 2).join('.'), this.labels) + (n === all.length - 1 ? '' : ' ›')).join(' ') : labelOf(path || 'configuration', this.labels);
    return h('button', { type: 'button', class: 'ft-quiet la-pointer', onclick: () => this.goTo(path) }, words);
  }

  private goTo(path: string): void {
    if (path === 'method') {
      this.cards.querySelector<HTMLInputElement>('input:checked')?.focus();
      return;
    }
    const { front, groups } = this.model.get('sheet');
    const fields = [...front, ...groups.flatMap(({ paths }) => paths)].map((one) => this.field(one)).flatMap((field) => (field ? [field, ...field.within()] : []));
    const around = fields.filter((one) => path === one.path || path.startsWith(`${one.path}.`)).sort((a, b) => b.path.length - a.path.length)[0];
    const field = around ?? fields.find((one) => one.path.startsWith(`${path}.`)); // a whole section: its first field
    field?.root.closest('details')?.setAttribute('open', '');
    field?.focus();
  }

  drawTexts(): void {
    this.texts.draw();
  }

  drawRun(): void {
    const [name, note] = [this.model.get('run_name'), this.model.get('note')];
    this.below.hidden = !name;
    setText(this.runTold, name ? `✓ ${name} ${note || 'was started'}` : '');
    void this.embed(this.model.get('view'));
  }

  /** Shows the run's own view below; where the page cannot, its name has to do. */
  private async embed(id: string): Promise<void> {
    try {
      if (!(await this.stage.show(id))) return;
      if (this.isAwaited) this.below.scrollIntoView?.({ block: 'start' });
      this.isAwaited = false;
    } catch (error) {
      setText(this.runTold, `${this.model.get('run_name')} goes on; its view cannot be shown here (${(error as Error).message}). RunView(launch.run) shows it.`);
    }
  }

  // What is asked of Python

  async launch(): Promise<void> {
    if (this.starting) return;
    this.starting = this.isAwaited = true;
    this.refusal = '';
    this.drawState();
    const changes = [...this.pending.values()];
    clearTimeout(this.timer);
    this.pending.clear();
    try {
      await this.sending;
      await this.channel.ask('start', { started: this.model.get('started'), changes }, PATIENCE_MS);
    } catch (error) {
      if (!Object.keys(this.faults()).length) this.refuse(error, 'Whether it was started is not known');
    }
    this.starting = false;
    this.drawState();
  }

  private async begin(): Promise<void> {
    const title = this.preset.value;
    if (!title) return;
    await this.command('preset', { title });
    setText(this.presetTold, this.model.get('presets').find((one) => one.title === title)?.about ?? '');
  }

  private async command(type: string, body: Record<string, unknown> = {}): Promise<void> {
    try {
      await this.flush();
      await this.channel.ask(type, body);
      this.refusal = '';
      if (type === 'reset') {
        this.preset.value = '';
        setText(this.presetTold, '');
      }
    } catch (error) {
      this.refuse(error, 'Whether it was done is not known');
    }
    this.drawState();
  }

  private refuse(error: unknown, otherwise: string): void {
    this.refusal = error instanceof CommandError ? error.message : `The kernel did not answer (${(error as Error).message}). ${otherwise}.`;
  }
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const sheet = new Sheet(model, channel, signal);
    sheet.root.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing || event.repeat) return;
      event.preventDefault();
      if (!(event.target as HTMLElement).closest('.la-run')) void sheet.launch();
    }, { signal });
    ownKeys(sheet.root, (event) => (event.target as HTMLElement).closest('.la-run') === null && walk(event), signal);
    observe(model, ['presets'], () => sheet.drawPresets(), signal);
    observe(model, ['methods'], () => sheet.drawMethods(), signal);
    observe(model, ['schema', 'draft', 'defaults', 'sheet', 'faults', 'labels', 'suggestions'], () => sheet.draw(), signal);
    observe(model, ['preflight', 'started', 'error'], () => sheet.drawState(), signal);
    observe(model, ['texts'], () => sheet.drawTexts(), signal);
    observe(model, ['run_name', 'note', 'view'], () => sheet.drawRun(), signal);
    el.append(sheet.root);
  },
};
