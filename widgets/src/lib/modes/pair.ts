/** Two answers: which is better, and by how much? Also each turn of a dialogue. */
import { Radios, type Option } from '../button';
import { h, setText, type Child } from '../dom';
import { Answer, nameOf } from '../text';
import type { Choice, Desk, Mode, Opinion, Task } from './mode';

interface Stop { choice: Choice; strength: number }

const CHOICES: Option<Choice>[] = [
  { key: '1', value: 'left', label: 'A is better' }, { key: '2', value: 'right', label: 'B is better' },
  { key: '3', value: 'tie', label: 'Tie' }, { key: '4', value: 'both_bad', label: 'Both bad' },
];
const DEGREES = ['negligibly', 'slightly', 'clearly', 'significantly'] as const; // by strength, Llama 2's four
const STRENGTHS: Option<number>[] = [3, 2, 1, 0].map((value, index) => ({ key: String(index + 1), value, label: capital(DEGREES[value]!) }));
/** Seven stops in one gesture; the middle one is a tie, and the finest preference takes the two steps. */
function stops(): Option<Stop>[] {
  return [-3, -2, -1, 0, 1, 2, 3].map((at) => {
    const strength = Math.abs(at);
    const choice = at < 0 ? 'left' : at > 0 ? 'right' : 'tie';
    const words = at ? `${at < 0 ? 'A' : 'B'} is ${DEGREES[strength]!} better` : 'Tie: neither is better';
    return { key: '', value: { choice, strength }, label: words, look: look(at) };
  });
}
const SAFETY: Option<string>[] = [
  { key: '5', value: 'both_safe', label: 'Both safe' }, { key: '6', value: 'left_safe', label: 'Only A' },
  { key: '7', value: 'right_safe', label: 'Only B' }, { key: '8', value: 'both_unsafe', label: 'Neither' },
];

function capital(word: string): string {
  return word[0]!.toUpperCase() + word.slice(1);
}

/** As many bars as the degree, and its word where there is room. */
function look(at: number): Child {
  const bars = h('span', { class: 'rate-bars', 'aria-hidden': 'true' }, ...(at ? Array.from({ length: Math.abs(at) }, () => h('i')) : ['=']));
  return h('span', { class: 'rate-stop' }, at < 0 && h('b', {}, 'A'), bars, at > 0 && h('b', {}, 'B'), h('span', { class: 'rate-degree' }, at ? DEGREES[Math.abs(at)]! : 'tie'));
}

export class Pair implements Mode {
  readonly sheet: HTMLElement;
  readonly controls: HTMLElement;
  readonly help: Mode['help'];
  private readonly answers: Answer[];
  private side: 'left' | 'right' | null = null; // the first of the two steps has been taken
  private chosen: Stop | null = null;
  private safety: string | null = null;
  private readonly question = h('div', { class: 'rate-question', 'aria-hidden': 'true' });
  private readonly scale: Radios<Stop>;
  private readonly choices: Radios<Choice>;
  private readonly strengths: Radios<number>;
  private readonly safe: Radios<string> | null;

  constructor(task: Task, private desk: Desk) {
    const { stands, settings } = task;
    this.answers = task.texts.map((text, index) => new Answer(nameOf(index), text, task.unseen[index] ?? 0));
    this.sheet = h('div', { class: 'rate-pair' }, ...this.answers.map(({ root }) => root));
    if (stands?.choice) this.chosen = { choice: stands.choice, strength: stands.strength ?? 0 };
    this.safety = (stands?.scores?.safety as string | undefined) ?? null;
    this.scale = new Radios('Which answer is better, and by how much?', stops(), (stop) => this.take(stop), { name: 'scale', quiet: true });
    this.choices = new Radios('Which answer is better?', CHOICES, (choice) => this.choose(choice), { quiet: true });
    this.strengths = new Radios('How much better?', STRENGTHS, (strength) => this.side && this.take({ choice: this.side, strength }), { quiet: true });
    this.safe = settings.safety ? new Radios('Which answers are safe?', SAFETY, (value) => this.bin(value), { name: 'safety' }) : null;
    this.help = [['1', 'A'], ['2', 'B'], ['3', 'tie'], ['4', 'both bad'], ['1–4', 'then: how much'], ...(this.safe ? [['5–8', 'safe?'] as const] : [])];
    this.controls = h('div', { class: 'rate-asked' },
      h('div', { class: 'rate-preference' }, this.question, this.scale.root, this.choices.root, this.strengths.root), this.safe?.root);
  }

  draw(open: boolean, plain: boolean): void {
    for (const [index, answer] of this.answers.entries()) {
      answer.show(plain);
      answer.root.classList.toggle('rate-chosen', (this.side ?? this.chosen?.choice) === (index ? 'right' : 'left'));
    }
    const at = this.chosen;
    this.scale.draw(open, ({ choice, strength }) => !!at && at.choice === choice && at.strength === strength);
    this.choices.root.hidden = this.side !== null;
    this.strengths.root.hidden = this.side === null;
    const legend = this.side ? `How much better is ${this.side === 'left' ? 'A' : 'B'}?` : 'Which answer is better?';
    setText(this.question, legend);
    if (this.side) this.strengths.ask(legend);
    this.choices.draw(open && this.side === null, (choice) => at?.choice === choice);
    this.strengths.draw(open && this.side !== null, (strength) => !!at && at.choice === this.side && at.strength === strength);
    this.safe?.draw(open, (value) => value === this.safety);
    this.safe?.root.classList.toggle('rate-wanted', at !== null && this.safety === null);
  }

  private choose(choice: Choice): void {
    if (choice === 'tie' || choice === 'both_bad') {
      this.take({ choice, strength: 0 });
      return;
    }
    this.side = choice;
    this.desk.redraw();
    this.focus();
  }

  /** The preference is said; where the safety is not, that is asked for now. */
  private take(stop: Stop): void {
    this.chosen = stop;
    this.side = null;
    if (this.say()) this.desk.commit();
    else {
      this.desk.redraw();
      this.desk.announce('Which answers are safe?');
      this.focus();
    }
  }

  private bin(value: string): void {
    this.safety = value;
    if (this.say()) this.desk.commit();
    else {
      this.desk.redraw();
      this.focus();
    }
  }

  key(): boolean {
    return false;
  }

  back(): boolean {
    if (!this.side && !this.chosen) return false;
    if (this.side) this.side = null;
    else this.chosen = null;
    return true;
  }

  say(): Opinion | null {
    if (!this.chosen || (this.safe && !this.safety)) return null;
    const { choice, strength } = this.chosen;
    return { choice, strength, scores: this.safe ? { safety: this.safety } : null };
  }

  focus(): void {
    const question = this.side ? this.strengths : this.chosen && this.safe && !this.safety ? this.safe : this.choices;
    question.root.querySelector<HTMLElement>('[tabindex="0"]:not(:disabled)')?.focus({ preventScroll: true });
  }
}
