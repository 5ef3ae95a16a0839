/** The answer as it should be: an improved one, or a demonstration where there was none. */
import { KeyButton, SEND, type Radios } from '../button';
import { diff, likeness } from '../diff';
import { fill, h, setText } from '../dom';
import { Answer } from '../text';
import { likert } from './single';
import type { Desk, Mode, Opinion, Task } from './mode';

const LONGEST = 200_000; // what the store takes
const PAUSE_MS = 150; // the difference is drawn when the hand rests
const TOO_FEW = 0.15; // share of words in common below which marks are confetti

export class Edit implements Mode {
  readonly sheet: HTMLElement;
  readonly controls: HTMLElement;
  readonly help: Mode['help'];
  private readonly original: string | null;
  private readonly answer: Answer | null;
  private readonly area: HTMLTextAreaElement;
  private readonly changes = h('div', { class: 'rate-changes ft-text', role: 'group', tabindex: '0', 'aria-label': 'What has changed' });
  private readonly count = h('span', { class: 'ft-quietly rate-count' });
  private readonly save: KeyButton;
  private readonly restore: KeyButton;
  private readonly scale: Radios<number> | null;
  private readonly whole: boolean; // of a text that the page has only half of, no half may be stored
  private value: number | null;
  private timer = 0;
  private open = false;

  constructor(private task: Task, private desk: Desk) {
    this.original = task.texts[0] ?? null;
    this.whole = !task.unseen.some((count) => count > 0);
    this.value = (task.stands?.scores?.likert as number | undefined) ?? null;
    this.answer = this.original === null ? null : new Answer('', this.original, task.unseen[0] ?? 0);
    const legend = this.original === null ? 'Write the answer that should have been given' : 'Improve the answer';
    this.area = h('textarea', { rows: '6', class: 'rate-text', 'aria-label': legend, placeholder: this.original === null ? 'The answer, as a model should give it' : 'An empty answer is not stored', spellcheck: 'true', oninput: () => this.typed() });
    this.area.value = desk.drafts.read(task.assignment_id) ?? (task.stands?.scores?.text as string | undefined) ?? (this.whole ? this.original ?? '' : '');
    this.save = new KeyButton(SEND, 'Save', () => this.desk.commit(), { class: 'ft-primary' });
    this.restore = new KeyButton('', this.original === null ? 'Empty it' : 'Back to the original', () => this.reset(), { class: 'ft-quiet' });
    this.scale = this.original !== null && task.settings.scale !== 'thumbs' ? likert('How good was the original? (not required)', (value) => this.rate(value)) : null;
    this.sheet = h('div', { class: 'rate-edit' },
      this.answer && h('div', { class: 'rate-half' }, h('div', { class: 'rate-question' }, 'The answer'), this.answer.root),
      h('div', { class: 'rate-half' }, h('div', { class: 'rate-question' }, legend), this.area));
    this.controls = h('div', { class: 'rate-asked' },
      this.answer && h('div', { class: 'rate-half' }, h('div', { class: 'rate-question' }, 'What has changed'), this.changes),
      this.scale?.root,
      h('div', { class: 'ft-row rate-send' }, this.save.root, this.restore.root, this.count));
    this.help = [['Ctrl ⏎', 'save'], ['Esc', 'leave the text'], ['w', 'write'], ...(this.scale ? [['1–7', 'the original'] as const] : [])];
    this.compare();
  }

  draw(open: boolean, plain: boolean): void {
    this.open = open && this.whole;
    this.answer?.show(plain);
    this.area.readOnly = !this.open;
    this.scale?.draw(open, (value) => value === this.value);
    this.tell();
  }

  /** What can be done with the text as it stands. */
  private tell(): void {
    const text = this.area.value;
    const same = text === this.original;
    const words = text.trim() ? text.trim().split(/\s+/).length : 0;
    this.save.set({ open: this.open && this.say() !== null, label: same ? 'Save it unchanged' : 'Save' });
    this.restore.set({ open: this.open && text !== (this.original ?? '') });
    const tooLong = text.length > LONGEST;
    setText(this.count, !this.whole ? 'The answer is too long to be edited here: skip it, or flag it.'
      : tooLong ? `${text.length.toLocaleString('en')} characters; at most ${LONGEST.toLocaleString('en')} can be stored` : `${words} ${words === 1 ? 'word' : 'words'}`);
    this.count.classList.toggle('ft-warn', tooLong || !this.whole);
  }

  private typed(): void {
    const text = this.area.value;
    if (text === (this.original ?? '')) this.desk.drafts.drop(this.task.assignment_id);
    else this.desk.drafts.write(this.task.assignment_id, text);
    this.tell();
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.compare(), PAUSE_MS);
  }

  private compare(): void {
    if (this.original === null || !this.whole) return;
    const text = this.area.value;
    if (text === this.original) {
      fill(this.changes, h('span', { class: 'ft-quietly' }, 'Nothing yet.'));
      return;
    }
    const pieces = diff(this.original, text);
    const tooFew = likeness(pieces) < TOO_FEW;
    fill(this.changes, ...(tooFew ? [h('span', { class: 'ft-quietly' }, 'Written anew: hardly a word is the same.')] : pieces.map(({ kind, text: part }) => (kind === 'same' ? part : h(kind === 'added' ? 'ins' : 'del', {}, part)))));
  }

  private reset(): void {
    this.area.value = this.original ?? '';
    this.typed();
    this.desk.announce(this.original === null ? 'The text is empty' : 'The text is the original again');
    this.area.focus();
  }

  private rate(value: number): void {
    this.value = value === this.value ? null : value;
    this.desk.redraw();
  }

  key(event: KeyboardEvent): boolean {
    if (event.key !== 'w') return false;
    this.area.focus();
    return true;
  }

  back(): boolean {
    return false;
  }

  say(): Opinion | null {
    const text = this.area.value;
    if (!this.whole || !text.trim() || text.length > LONGEST) return null;
    return { choice: null, strength: null, scores: { text, ...(this.value && { likert: this.value }) } };
  }

  focus(): void {
    this.area.focus({ preventScroll: true });
  }

  close(): void {
    clearTimeout(this.timer);
  }
}
