/** What a trainer is handed, token by token. */
import { Channel, CommandError, type Link } from './lib/channel';
import { kindOf, STRONG, strength, told, total, visible, type Losses, type Part } from './lib/chips';
import { fill, h, setText } from './lib/dom';
import { isTyping, ownKeys } from './lib/keys';
import { mint } from './lib/id';
import { observe, type Model, type Scene } from './lib/model';

type Mask = 'completion' | 'assistant' | 'all';

/** Mirrors the synced traits of ftlab/widgets/tokens.py. */
interface Traits {
  source: string;
  model: string;
  count: number;
  at: number;
  mask: Mask;
  max_length: number;
  packing: boolean;
  can_pack: boolean;
  parts: Part[];
  told: string;
  wants_losses: boolean;
  losses: Losses[];
  note: string;
  error: string;
}

const MASKS: [Mask, string, string][] = [
  ['completion', 'Last answer', 'Loss on the last answer alone (mask: completion)'],
  ['assistant', 'Every answer', 'Loss on every answer (mask: assistant)'],
  ['all', 'Everything', 'Loss on every token (mask: all)'],
];
const SLIDE_MS = 60;

class View {
  readonly root: HTMLElement;
  private readonly id = mint();
  private readonly counts = h('strong', { class: 'tk-counts', role: 'status' });
  private readonly note = h('span', { class: 'ft-quietly tk-note', role: 'status' });
  private readonly error = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly back = h('button', { type: 'button', class: 'ft-quiet', 'aria-label': 'Previous row', title: 'Previous row (PageUp)', onclick: () => this.turn(this.model.get('at') - 1) }, '◀');
  private readonly next = h('button', { type: 'button', class: 'ft-quiet', 'aria-label': 'Next row', title: 'Next row (PageDown)', onclick: () => this.turn(this.model.get('at') + 1) }, '▶');
  private readonly number = h('input', { type: 'number', min: 1, class: 'tk-number', 'aria-label': 'Row', onchange: () => this.turn(Number(this.number.value) - 1) });
  private readonly slider = h('input', { type: 'range', min: 1, class: 'tk-slider', 'aria-label': 'Row', oninput: () => this.slide() });
  private readonly of = h('span', { class: 'ft-quietly' });
  private readonly masks: HTMLButtonElement[];
  private readonly maskGroup: HTMLElement;
  private readonly length = h('input', { type: 'number', min: 2, max: 1_048_576, class: 'tk-number', id: `${this.id}-length`, onchange: () => this.show({ max_length: Number(this.length.value) }) });
  private readonly packing = h('input', { type: 'checkbox', onchange: () => this.show({ packing: this.packing.checked, at: 0 }) });
  private readonly packLabel = h('label', { class: 'tk-check' }, this.packing, 'Pack rows');
  private readonly loss = h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => this.ask('losses', { wanted: !this.model.get('wants_losses') }) }, 'Loss of each token');
  private readonly scale = h('span', { class: 'tk-scale' });
  private readonly sheet = h('div', { class: 'tk-sheet' });
  private readonly about = h('div', { class: 'tk-about', role: 'group', 'aria-label': 'The chosen token' });
  private chips: { root: HTMLElement; part: number; place: number }[] = [];
  private chosen = 0;
  private link: Link = 'live';
  private sliding = 0;

  constructor(private model: Model<Traits>, private channel: Channel, signal: AbortSignal) {
    this.masks = MASKS.map(([mask, label, title]) => h('button', { type: 'button', role: 'radio', title, 'data-mask': mask, onclick: () => this.show({ mask }) }, label));
    this.maskGroup = h('div', { class: 'ft-row tk-masks', role: 'radiogroup', 'aria-label': 'What is learned' }, h('span', { class: 'tk-label', 'aria-hidden': 'true' }, 'Learn'), ...this.masks);
    this.root = h('section', { class: 'ftlab tk', 'aria-label': 'Tokens', tabindex: '-1' },
      this.error,
      h('div', { class: 'ft-row tk-head' }, this.counts, h('span', { class: 'ft-quietly' }, `${model.get('source')}, as ${model.get('model')} reads it`), h('span', { class: 'ft-space' }), this.note),
      h('div', { class: 'ft-row tk-turn' }, this.back, this.number, this.of, this.next, this.slider),
      h('div', { class: 'ft-row tk-settings' }, this.maskGroup,
        h('span', { class: 'ft-row tk-field' }, h('label', { for: `${this.id}-length` }, 'at most'), this.length, 'tokens'), this.packLabel, h('span', { class: 'ft-space' }), this.loss),
      h('div', { class: 'tk-legend ft-quietly' },
        h('span', {}, h('span', { class: 'tk-chip tk-learned' }, 'learned')), h('span', {}, h('span', { class: 'tk-chip' }, 'read only')),
        h('span', {}, h('span', { class: 'tk-chip tk-template' }, 'by the template')), h('span', {}, h('span', { class: 'tk-chip tk-cut' }, 'cut off')), h('span', { class: 'ft-space' }), this.scale),
      this.sheet, this.about);
    this.sheet.addEventListener('pointerover', (event) => this.hover(event), { signal });
    this.sheet.addEventListener('click', (event) => this.hover(event, true), { signal });
    this.sheet.addEventListener('focusin', (event) => this.hover(event), { signal });
    ownKeys(this.root, (event) => this.key(event), signal);
    channel.watch((link) => {
      this.link = link;
      this.drawState();
    });
    signal.addEventListener('abort', () => clearTimeout(this.sliding));
    observe(model, ['count', 'at', 'mask', 'max_length', 'packing', 'can_pack', 'told', 'note', 'error', 'wants_losses'], () => this.drawState(), signal);
    observe(model, ['parts', 'losses'], () => this.drawSheet(), signal);
  }

  private show(settings: Record<string, unknown>): void {
    this.ask('show', settings);
  }

  private turn(at: number): void {
    const last = this.model.get('count') - 1;
    if (Number.isFinite(at)) this.show({ at: Math.min(last, Math.max(0, Math.round(at))) });
  }

  /** A dragged slider asks for where it rests, not for every row it passes. */
  private slide(): void {
    this.number.value = this.slider.value;
    clearTimeout(this.sliding);
    this.sliding = window.setTimeout(() => this.turn(Number(this.slider.value) - 1), SLIDE_MS);
  }

  private ask(type: string, body: Record<string, unknown>): void {
    this.channel.ask(type, body).then(() => this.refuse(''), (error: unknown) => {
      this.refuse(error instanceof CommandError ? error.message : `The kernel did not answer (${(error as Error).message}); it may be busy.`);
      this.drawState(); // what was typed goes back to what is
    });
  }

  private refuse(text: string): void {
    setText(this.error, text);
    this.error.hidden = !text;
  }

  private key(event: KeyboardEvent): boolean {
    if (event.key === 'PageDown' || event.key === 'PageUp') {
      this.turn(this.model.get('at') + (event.key === 'PageDown' ? 1 : -1));
      return true;
    }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] ?? 0;
    const target = event.target as HTMLElement;
    if (target.closest('.tk-masks') && step) {
      const at = this.masks.findIndex((button) => button === target);
      const button = this.masks[(at + step + this.masks.length) % this.masks.length]!;
      button.focus();
      button.click();
      return true;
    }
    if (isTyping(event) || !target.closest('.tk-sheet')) return false;
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? this.chips.length - 1 : step ? this.chosen + step : -1;
    if (to < 0 || to >= this.chips.length) return step !== 0;
    this.choose(to);
    this.chips[to]!.root.focus();
    return true;
  }

  private drawState(): void {
    const get = this.model.get.bind(this.model);
    const open = this.link !== 'gone';
    setText(this.counts, get('told'));
    setText(this.note, this.link === 'gone' ? 'The kernel of this cell has ended: run the cell again to go on.' : get('note'));
    if (get('error')) this.refuse(get('error'));
    for (const field of [this.number, this.slider]) {
      field.max = String(get('count'));
      field.value = String(get('at') + 1);
      field.disabled = !open;
    }
    setText(this.of, `of ${get('count').toLocaleString('en')}${get('packing') ? ' packed rows' : ''}`);
    this.back.disabled = !open || get('at') === 0;
    this.next.disabled = !open || get('at') === get('count') - 1;
    this.masks.forEach((button) => {
      const chosen = button.dataset['mask'] === get('mask');
      button.setAttribute('aria-checked', String(chosen));
      button.tabIndex = chosen ? 0 : -1;
      button.disabled = !open;
    });
    this.maskGroup.hidden = this.packLabel.hidden = !get('can_pack');
    this.length.value = String(get('max_length'));
    this.packing.checked = get('packing');
    for (const field of [this.length, this.packing, this.loss]) field.disabled = !open;
    this.loss.setAttribute('aria-pressed', String(get('wants_losses')));
    this.scale.hidden = !this.model.get('losses').length;
  }

  private drawSheet(): void {
    const parts = this.model.get('parts');
    const losses = this.model.get('losses');
    const hadFocus = this.sheet.contains(document.activeElement);
    this.chips = [];
    fill(this.sheet, ...parts.map((part, index) => this.strip(part, index, losses[index], parts.length)));
    this.chosen = Math.min(this.chosen, Math.max(0, this.chips.length - 1));
    this.choose(this.chosen);
    if (hadFocus) this.chips[this.chosen]?.root.focus();
    const whole = total(parts, losses);
    fill(this.scale, whole && whole.count > 0 && h('span', {}, `mean loss ${whole.mean.toFixed(3)} over ${whole.count} learned, sum ${whole.sum.toFixed(2)}`), h('span', { class: 'tk-range' }, '0', h('span', { class: 'tk-ramp', 'aria-hidden': 'true' }), `${STRONG} nats`));
    this.scale.hidden = !losses.length;
  }

  private strip(part: Part, index: number, losses: Losses | undefined, parts: number): HTMLElement {
    const name = part.label || (parts > 1 ? `row ${part.row + 1}` : `Row ${part.row + 1}`);
    const chips = part.ids.map((_, place) => this.chip(part, index, place, losses));
    const list = h('div', { class: 'tk-tokens', role: 'listbox', 'aria-label': `Tokens of ${name}`, 'aria-orientation': 'horizontal' }, ...chips.flatMap((one) => [one, h('wbr')])); // a line ends between tokens
    return h('div', { class: `tk-part${parts > 1 ? ' tk-bordered' : ''}` }, parts > 1 && h('div', { class: 'tk-name' }, name),
      part.note && h('div', { class: 'ft-warn' }, part.note), list, part.hidden > 0 && h('div', { class: 'ft-quietly' }, `${part.hidden.toLocaleString('en')} more tokens are not drawn.`));
  }

  private chip(part: Part, index: number, place: number, losses: Losses | undefined): HTMLElement {
    const text = part.texts[place]!;
    const kind = kindOf(part, place);
    const loss = losses?.losses[place];
    const classes = ['tk-chip', `tk-${kind}`, part.template[place] === '1' ? 'tk-template' : '', text.includes('\n') ? 'tk-break' : '', place === part.kept && part.kept > 0 ? 'tk-edge' : '', losses ? 'tk-lossy' : ''];
    const root = h('span', { class: classes.filter(Boolean).join(' '), role: 'option', 'aria-selected': 'false', tabindex: '-1', 'aria-label': told(part, place, losses), 'data-chip': this.chips.length,
      style: loss === null || loss === undefined ? null : `--tk-strength:${strength(loss)}%` }, visible(text));
    this.chips.push({ root, part: index, place });
    return root;
  }

  private hover(event: Event, takesFocus = false): void {
    const chip = (event.target as HTMLElement).closest<HTMLElement>('[data-chip]');
    if (!chip) return;
    this.choose(Number(chip.dataset['chip']));
    if (takesFocus) chip.focus();
  }

  private choose(to: number): void {
    const before = this.chips[this.chosen];
    before?.root.setAttribute('aria-selected', 'false');
    if (before) before.root.tabIndex = -1;
    this.chosen = to;
    const chip = this.chips[to];
    if (!chip) {
      fill(this.about);
      return;
    }
    chip.root.setAttribute('aria-selected', 'true');
    chip.root.tabIndex = 0;
    const part = this.model.get('parts')[chip.part]!;
    const losses = this.model.get('losses')[chip.part];
    fill(this.about, ...described(part, chip.place, losses));
  }
}

/** What is known of one token. */
function described(part: Part, place: number, losses: Losses | undefined): HTMLElement[] {
  const loss = losses?.losses[place];
  const kind = { learned: 'learned', context: 'read, not learned', cut: 'cut off' }[kindOf(part, place)];
  const facts: [string, string][] = [['position', String(place)], ['id', String(part.ids[place])], ['weight', kind === 'learned' ? '1' : '0'], ['', kind], ['', part.template[place] === '1' ? 'by the template' : 'text']];
  if (loss !== null && loss !== undefined) facts.push(['loss', `${loss.toFixed(3)} nats`], ['probability', share(Math.exp(-loss))]);
  const best = losses?.candidates[place] ?? [];
  return [
    h('div', { class: 'ft-row tk-facts' }, h('code', { class: 'tk-big' }, visible(part.texts[place]!)), ...facts.map(([name, value]) => h('span', {}, name && h('span', { class: 'ft-quietly' }, `${name} `), value))),
    h('div', { class: 'ft-row tk-best' }, best.length > 0 && h('span', { class: 'ft-quietly' }, 'the model expects'), ...best.map(([text, probability]) => h('span', { class: text === part.texts[place] ? 'tk-hit' : '' }, h('code', {}, visible(text)), ` ${share(probability)}`))),
  ];
}

function share(probability: number): string {
  return probability >= 0.0995 ? `${Math.round(100 * probability)} %` : probability >= 0.001 ? `${(100 * probability).toFixed(1)} %` : '< 0.1 %';
}

export default {
  render({ model, el, signal }: Scene<Traits>) {
    const channel = new Channel(model, signal);
    el.append(new View(model, channel, signal).root);
  },
};
