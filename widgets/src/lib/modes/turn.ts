/** Between two turns of a dialogue: the next message is written, then two answers are. */
import { KeyButton, SEND } from '../button';
import { fill, h, setText } from '../dom';
import { conversation, type Message } from '../text';
import type { Drafts } from './mode';

/** A conversation that waits for its next message, or for the answers to it. */
export interface Turn {
  assignment_id: string | null; // of the turn that was judged; null where a conversation begins
  prompt: Message[]; // so far, the chosen answer included
  state: 'waiting' | 'answering';
  texts: string[]; // what can be read of both answers, kept in step
  note: string;
}

export class Composer {
  readonly root: HTMLElement;
  private readonly talk = h('div', {});
  private readonly area: HTMLTextAreaElement;
  private readonly send: KeyButton;
  private readonly leave: KeyButton;
  private readonly form: HTMLElement;
  private readonly streams: HTMLElement[];
  private readonly written: HTMLElement;
  private readonly note = h('p', { class: 'ft-quietly rate-writing' });
  private key = '';
  private shown = '';

  constructor(private drafts: Drafts, act: { send(message: string): void; leave(): void; cancel(): void }) {
    this.area = h('textarea', { rows: '3', class: 'rate-text', 'aria-label': 'Your next message', placeholder: 'Your next message', oninput: () => this.typed() });
    this.send = new KeyButton(SEND, 'Send to both', () => this.area.value.trim() && act.send(this.area.value), { class: 'ft-primary' });
    this.leave = new KeyButton('', 'End this conversation', () => act.leave(), { class: 'ft-quiet' });
    this.form = h('div', { class: 'rate-asked' }, this.area, h('div', { class: 'ft-row rate-send' }, this.send.root, this.leave.root));
    this.streams = [0, 1].map(() => h('div', { class: 'rate-answer ft-text' }));
    this.written = h('div', { class: 'rate-asked' },
      h('div', { class: 'rate-pair', 'aria-hidden': 'true' }, ...this.streams.map((stream) => h('div', { class: 'ft-card rate-card' }, h('div', { class: 'rate-name' }, '…'), h('div', { class: 'rate-body' }, stream)))),
      this.note, h('div', { class: 'ft-row rate-send' }, new KeyButton('', 'Stop', () => act.cancel()).root));
    this.root = h('div', { class: 'rate-turn-sheet' }, this.talk, this.form, this.written);
  }

  draw(turn: Turn, open: boolean, plain: boolean): void {
    const waiting = turn.state === 'waiting';
    const key = turn.assignment_id ?? 'new';
    if (key !== this.key) {
      this.key = key;
      this.area.value = this.drafts.read(`turn:${key}`) ?? '';
    }
    const talk = JSON.stringify([turn.prompt, plain]);
    if (talk !== this.shown) {
      this.shown = talk;
      fill(this.talk, turn.prompt.length > 0 && conversation(turn.prompt, plain));
      const box = this.talk.firstElementChild;
      requestAnimationFrame(() => box && (box.scrollTop = box.scrollHeight));
    }
    this.form.hidden = !waiting;
    this.written.hidden = waiting;
    this.area.readOnly = !open;
    const legend = turn.assignment_id ? 'Your next message' : 'The first message of a conversation';
    this.area.placeholder = legend;
    this.area.setAttribute('aria-label', legend);
    this.leave.set({ hidden: turn.assignment_id === null, open });
    this.streams.forEach((stream, index) => setText(stream, turn.texts[index] ?? ''));
    setText(this.note, turn.note || 'Two answers are being written, shown in step with each other.');
    this.ready(open);
  }

  /** Once the answers are stored. */
  done(): void {
    if (this.key) this.drafts.drop(`turn:${this.key}`);
    this.key = '';
  }

  focus(): void {
    this.area.focus({ preventScroll: true });
  }

  private ready(open: boolean): void {
    this.send.set({ open: open && !!this.area.value.trim() });
  }

  private typed(): void {
    this.drafts.write(`turn:${this.key}`, this.area.value);
    this.ready(!this.area.readOnly);
  }

  submit(): void {
    if (!this.form.hidden) this.send.root.click();
  }
}
