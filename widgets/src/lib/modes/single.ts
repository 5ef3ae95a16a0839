/** One answer: good or bad, or how good from 1 to 7. */
import { KeyButton, Radios, SEND, type Option } from '../button';
import { h } from '../dom';
import { Answer } from '../text';
import type { Desk, Mode, Opinion, Task } from './mode';

const THUMBS: Option<string>[] = [
  { key: 'g', value: 'up', label: 'Good' },
  { key: 'b', value: 'down', label: 'Bad' },
];
const WORDS = ['very bad', 'bad', 'rather bad', 'neither', 'rather good', 'good', 'very good'];

/** A row of seven, 1 the worst; also beneath what is edited. */
export function likert(legend: string, act: (value: number) => void): Radios<number> {
  const options = WORDS.map((word, index) => ({ key: String(index + 1), value: index + 1, label: `${index + 1}, ${word}`, look: h('span', { class: 'rate-degree' }, word) }));
  return new Radios(legend, options, act, { name: 'likert' });
}

export class Single implements Mode {
  readonly sheet: HTMLElement;
  readonly controls: HTMLElement;
  readonly help: Mode['help'];
  private readonly answer: Answer;
  private thumb: string | null = null;
  private value: number | null = null;
  private readonly thumbs: Radios<string> | null;
  private readonly scale: Radios<number> | null;
  private readonly save: KeyButton | null;

  constructor(task: Task, private desk: Desk) {
    const wanted = task.settings.scale ?? 'both';
    this.answer = new Answer('', task.texts[0] ?? '', task.unseen[0] ?? 0);
    this.sheet = h('div', { class: 'rate-single' }, this.answer.root);
    this.thumb = (task.stands?.scores?.thumb as string | undefined) ?? null;
    this.value = (task.stands?.scores?.likert as number | undefined) ?? null;
    const thumbs = THUMBS.map((one) => ({ ...one, look: h('span', { class: 'rate-thumbs-look' }, h('span', { class: `rate-thumb${one.value === 'down' ? ' rate-down' : ''}`, 'aria-hidden': 'true' }), one.label) }));
    this.thumbs = wanted === 'likert' ? null : new Radios('Is it a good answer?', thumbs, (value) => this.take('thumb', value), { name: 'thumbs' });
    this.scale = wanted === 'thumbs' ? null : likert('How good is it, all in all?', (value) => this.take('value', value));
    this.save = wanted === 'both' ? new KeyButton(SEND, 'Save with one of the two', () => this.desk.commit(), { class: 'ft-primary' }) : null;
    this.help = [...(this.thumbs ? [['g', 'good'], ['b', 'bad']] as const : []), ...(this.scale ? [['1–7', 'very bad to very good']] as const : []), ...(this.save ? [['Ctrl ⏎', 'save with one']] as const : [])];
    this.controls = h('div', { class: 'rate-asked' }, this.thumbs?.root, this.scale?.root, this.save && h('div', { class: 'ft-row rate-send' }, this.save.root));
  }

  draw(open: boolean, plain: boolean): void {
    this.answer.show(plain);
    this.thumbs?.draw(open, (value) => value === this.thumb);
    this.scale?.draw(open, (value) => value === this.value);
    this.save?.set({ open: open && this.say() !== null });
  }

  /** The last thing asked for sends it. */
  private take(what: 'thumb' | 'value', value: string | number): void {
    if (what === 'thumb') this.thumb = value as string;
    else this.value = value as number;
    if ((!this.thumbs || this.thumb) && (!this.scale || this.value)) this.desk.commit();
    else {
      this.desk.redraw();
      this.focus();
    }
  }

  key(): boolean {
    return false;
  }

  back(): boolean {
    if (this.thumb === null && this.value === null) return false;
    this.thumb = this.value = null;
    return true;
  }

  say(): Opinion | null {
    if (this.thumb === null && this.value === null) return null;
    return { choice: null, strength: null, scores: { ...(this.thumb && { thumb: this.thumb }), ...(this.value && { likert: this.value }) } };
  }

  focus(): void {
    const question = this.thumbs && !this.thumb ? this.thumbs : this.scale ?? this.thumbs;
    question?.root.querySelector<HTMLElement>('[tabindex="0"]:not(:disabled)')?.focus({ preventScroll: true });
  }
}
