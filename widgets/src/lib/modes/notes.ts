/** What can be said about answers in every mode: flags, labels and a comment, all on the page. */
import { fill, h, setText } from '../dom';
import { nameOf } from '../text';
import type { Scores, Task } from './mode';

const MOST_LABELS = 20;
const LABEL_CHARACTERS = 40;

export class Notes {
  readonly root: HTMLElement;
  private readonly comment: HTMLTextAreaElement;
  private readonly input: HTMLInputElement;
  private readonly chips = h('span', { class: 'rate-chips', role: 'group', 'aria-label': 'Labels', 'data-walk': true });
  private readonly flags: Flags | null;
  private labels: string[];

  /** `known`: labels to propose, the batch's and those used before. */
  constructor(task: Task, flags: Record<string, string>, private known: string[], private changed: () => void) {
    const { stands, settings } = task;
    this.labels = [...((stands?.scores?.labels as string[] | undefined) ?? [])];
    this.flags = settings.flags ? new Flags(task, flags, changed) : null;
    this.input = h('input', { type: 'text', class: 'rate-label', maxlength: LABEL_CHARACTERS, 'aria-label': 'Add a label', placeholder: 'Add a label', 'aria-keyshortcuts': 'l', autocomplete: 'off', onkeydown: (event) => event.key === 'Enter' && !event.isComposing && !event.ctrlKey && !event.metaKey && this.add() });
    this.comment = h('textarea', { rows: '1', class: 'rate-comment', maxlength: '20000', 'aria-label': 'Comment', 'aria-keyshortcuts': 'c', placeholder: 'Comment, saved with your choice', oninput: () => this.grow() });
    this.comment.value = stands?.comment ?? '';
    this.root = h('div', { class: 'rate-notes' }, this.flags?.root,
      h('div', { class: 'rate-note rate-labels' }, h('kbd', { 'aria-hidden': 'true' }, 'l'), this.input, this.chips),
      h('div', { class: 'rate-note' }, h('kbd', { 'aria-hidden': 'true' }, 'c'), this.comment));
    this.drawLabels();
  }

  draw(open: boolean): void {
    this.flags?.draw(open);
    this.input.disabled = !open || this.labels.length >= MOST_LABELS;
    for (const chip of this.chips.querySelectorAll('button')) chip.disabled = !open;
  }

  /** The comment as it is stored. */
  text(): string {
    return this.comment.value.trim();
  }

  /** What belongs into `scores`. A label still in its field counts. */
  scores(): Scores {
    this.add();
    return { ...this.flags?.scores(), ...(this.labels.length && { labels: this.labels }) };
  }

  /** Puts the focus on what has this key; whether it is one of these. */
  key(key: string): boolean {
    const goal = key === 'c' ? this.comment : key === 'l' ? this.input : key === 'i' ? this.flags?.first() : null;
    goal?.focus();
    return !!goal;
  }

  /** Asks what is wrong, before a task is set aside. */
  ask(words: string): void {
    this.comment.placeholder = words;
    this.comment.setAttribute('aria-label', words);
  }

  private add(): void {
    const label = this.input.value.trim().replace(/\s+/g, ' ');
    this.input.value = '';
    if (label && !this.labels.includes(label) && this.labels.length < MOST_LABELS) this.toggle(label);
  }

  private toggle(label: string): void {
    this.labels = this.labels.includes(label) ? this.labels.filter((one) => one !== label) : [...this.labels, label];
    if (!this.known.includes(label)) this.known.push(label);
    this.drawLabels(label);
    this.changed();
  }

  private drawLabels(focused = ''): void {
    const inside = this.chips.contains(document.activeElement);
    const all = [...new Set([...this.known, ...this.labels])];
    fill(this.chips, ...all.map((label, index) => h('button', { type: 'button', class: 'rate-chip', 'aria-pressed': String(this.labels.includes(label)), 'data-label': label, tabindex: index ? '-1' : '0', onclick: () => this.toggle(label) }, h('bdi', {}, label))));
    if (inside) [...this.chips.querySelectorAll('button')].find((one) => one.dataset.label === focused)?.focus();
  }

  private grow(): void {
    this.comment.style.height = 'auto';
    this.comment.style.height = `${Math.min(200, this.comment.scrollHeight + 2)}px`;
  }
}

/** The eleven flags of one answer at a time; how many an answer has stands beside its letter. */
class Flags {
  readonly root: HTMLElement;
  private readonly sets: Set<string>[];
  private readonly tabs: HTMLButtonElement[];
  private readonly chips: HTMLButtonElement[];
  private readonly several: boolean;
  private at = 0;

  constructor(task: Task, flags: Record<string, string>, private changed: () => void) {
    const count = Math.max(1, task.texts.length);
    const stood = task.stands?.scores?.flags as string[] | string[][] | undefined;
    this.several = task.texts.length > 1;
    this.sets = Array.from({ length: count }, (_, index) => new Set((this.several ? stood?.[index] : stood) as string[] | undefined));
    this.tabs = this.sets.map((_, index) => h('button', { type: 'button', role: 'radio', class: 'rate-tab', onclick: () => this.turn(index) }));
    this.chips = Object.entries(flags).map(([id, label]) => h('button', { type: 'button', class: 'rate-chip', 'data-flag': id, onclick: () => this.toggle(id) }, label));
    this.root = h('div', { class: 'rate-flags' },
      h('div', { class: 'ft-row rate-flags-head' }, h('kbd', { 'aria-hidden': 'true' }, 'i'), h('span', { class: 'rate-question' }, this.several ? 'What applies to answer' : 'What applies to the answer?'),
        this.several && h('span', { class: 'rate-tabs', role: 'radiogroup', 'aria-label': 'Flags of answer' }, ...this.tabs)),
      h('div', { class: 'rate-chips', role: 'group', 'aria-label': 'Flags', 'data-walk': true }, ...this.chips));
  }

  draw(open: boolean): void {
    const now = this.sets[this.at]!;
    this.tabs.forEach((tab, index) => {
      const size = this.sets[index]!.size;
      setText(tab, `${nameOf(index)}${size ? ` ${size}` : ''}`);
      tab.setAttribute('aria-label', `${nameOf(index)}${size ? `, ${size} ${size === 1 ? 'flag' : 'flags'}` : ''}`);
      tab.setAttribute('aria-checked', String(index === this.at));
      tab.tabIndex = index === this.at ? 0 : -1;
      tab.disabled = !open;
    });
    this.chips.forEach((chip, index) => {
      chip.setAttribute('aria-pressed', String(now.has(chip.dataset.flag ?? '')));
      if (!this.chips.some((one) => one.tabIndex === 0 && one === document.activeElement)) chip.tabIndex = index ? -1 : 0;
      chip.disabled = !open;
    });
  }

  first(): HTMLElement | undefined {
    return this.several ? this.tabs[this.at] : this.chips[0];
  }

  scores(): Scores {
    if (this.sets.every((set) => !set.size)) return {};
    const lists = this.sets.map((set) => [...set]);
    return { flags: this.several ? lists : lists[0] };
  }

  private turn(index: number): void {
    this.at = index;
    this.changed();
  }

  private toggle(id: string): void {
    const now = this.sets[this.at]!;
    if (!now.delete(id)) now.add(id);
    this.changed();
  }
}
