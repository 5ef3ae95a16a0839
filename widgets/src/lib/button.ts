/** Buttons and choices that are made once and changed in place, so that the focus stays where it is. */
import { fill, h, type Child } from './dom';

interface Look { open?: boolean; pressed?: boolean; checked?: boolean; hidden?: boolean; label?: string; title?: string }

/** Saves from anywhere, a field of text included. */
export const SEND = 'Control+Enter';
const LOOKS: Record<string, string> = { [SEND]: 'Ctrl ⏎', Enter: '⏎', Escape: 'Esc' };

/** A button that shows its key; the desk presses it when a key of one letter is. `key` "": none. */
export class KeyButton {
  readonly root: HTMLButtonElement;
  private label: string;

  constructor(readonly key: string, label: string, act: () => void, properties: Record<string, unknown> = {}) {
    this.label = label;
    this.root = h('button', { type: 'button', 'data-key': key.length === 1 ? key : null, 'aria-keyshortcuts': key || null, onclick: act, ...properties });
    this.write();
  }

  set({ open, pressed, checked, hidden, label, title }: Look): void {
    if (open !== undefined) this.root.disabled = !open;
    if (hidden !== undefined) this.root.hidden = hidden;
    if (pressed !== undefined) this.root.setAttribute('aria-pressed', String(pressed));
    if (checked !== undefined) this.root.setAttribute('aria-checked', String(checked));
    if (title !== undefined && this.root.title !== title) this.root.title = title;
    if (label !== undefined && label !== this.label) {
      this.label = label;
      this.write();
    }
  }

  private write(): void {
    fill(this.root, this.key && h('kbd', { 'aria-hidden': 'true' }, LOOKS[this.key] ?? this.key), this.label);
  }
}

export interface Option<T> { key: string; value: T; label: string; look?: Child }

/** A question with a few answers, one of which may be chosen. */
export class Radios<T> {
  readonly root: HTMLElement;
  private readonly question: HTMLElement;
  private readonly buttons: { value: T; root: HTMLButtonElement }[];

  constructor(legend: string, options: Option<T>[], act: (value: T) => void, { name = '', quiet = false } = {}) {
    this.question = h('div', { class: quiet ? 'ft-unseen' : 'rate-question', 'aria-hidden': 'true' }, legend);
    this.buttons = options.map(({ key, value, label, look }) => ({
      value,
      root: h('button', { type: 'button', role: 'radio', 'aria-checked': 'false', 'aria-keyshortcuts': key || null, 'data-key': key || null, 'aria-label': look ? label : null, title: look ? label : null, onclick: () => act(value) },
        key && h('kbd', { 'aria-hidden': 'true' }, key), look ?? label),
    }));
    this.root = h('div', { class: `rate-choices${name && ` rate-${name}`}`, role: 'radiogroup', 'aria-label': legend, style: `--options:${options.length}` }, this.question, ...this.buttons.map(({ root }) => root));
  }

  ask(legend: string): void {
    if (this.root.getAttribute('aria-label') === legend) return;
    this.root.setAttribute('aria-label', legend);
    this.question.textContent = legend;
  }

  draw(open: boolean, isChosen: (value: T) => boolean): void {
    const chosen = Math.max(0, this.buttons.findIndex(({ value }) => isChosen(value)));
    this.buttons.forEach(({ value, root }, index) => {
      root.disabled = !open;
      root.tabIndex = index === chosen ? 0 : -1;
      root.setAttribute('aria-checked', String(isChosen(value)));
    });
  }
}

/** Arrow keys within the question that has the focus; whether the key was one. */
export function walk(event: KeyboardEvent): boolean {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const target = event.target as HTMLElement;
  const group = target.closest('[data-walk], [role="radiogroup"]');
  if (!step || !group || !target.matches('button')) return false;
  const all = [...group.querySelectorAll<HTMLElement>('button:not(:disabled)')];
  const next = all[(all.indexOf(target) + step + all.length) % all.length];
  for (const one of all) one.tabIndex = one === next ? 0 : -1;
  next?.focus();
  return true;
}
