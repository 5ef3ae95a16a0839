/** Prompts and answers on the page: formatted, or exactly as written with what cannot be seen marked. */
import { fill, h, type Child } from './dom';
import { markdown } from './markdown';

export interface Message { role: string; content: string }

const LONG = 20_000; // characters; longer text is laid out piece by piece, as it is scrolled to
const PIECE = 4000;
const MOST_MARKS = 2000; // beyond that many a text is no prose, and marks help nobody
/** Controls, soft hyphen, zero-width and direction marks, tags, lone surrogates: what changes a text and shows no sign. */
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}]/gu;

/** A, B, C … for the answers in the order shown. */
export function nameOf(index: number): string {
  return String.fromCharCode(65 + index);
}

/** The text as elements; `plain`: as written, hidden characters marked. */
export function body(text: string, plain: boolean): HTMLElement {
  if (!text.trim()) return h('em', { class: 'ft-quietly' }, text ? '(nothing but white space)' : '(empty answer)');
  if (text.length > LONG) return h('div', { class: 'ft-text' }, ...pieces(text).map(({ text: part, joined }) => h('div', { class: `ft-piece${joined ? ' ft-joined' : ''}`, style: `--lines:${lines(part)}` }, ...(plain ? marked(part) : [part]))));
  return plain ? h('div', { class: 'ft-text' }, ...marked(text)) : h('div', { class: 'ft-markdown' }, markdown(text));
}

/** A part of a long text; `joined`: it goes on with the line that the part before it began. */
export interface Piece { text: string; joined: boolean }

/** Parts to be laid out by themselves: cut at line breaks, which they leave out, and a huge line between words if it has any. */
export function pieces(text: string): Piece[] {
  const made: Piece[] = [];
  let from = 0;
  let joined = false;
  while (text.length - from > PIECE) {
    const end = text.indexOf('\n', from + PIECE);
    const inside = end < 0 || end - from > 2 * PIECE;
    if (end < 0 && text.length - from <= 2 * PIECE) break;
    const to = inside ? within(text, from + PIECE) : end;
    made.push({ text: text.slice(from, to), joined });
    from = inside ? to : end + 1;
    joined = inside;
  }
  made.push({ text: text.slice(from), joined });
  return made;
}

/** Where a line can be cut at or behind `at`: behind a space that is near, else where no character is torn apart. */
function within(text: string, at: number): number {
  const space = text.indexOf(' ', at);
  if (space >= 0 && space - at < PIECE) return space + 1;
  let cut = at;
  while (/^[\p{M}\u200d\ufe0f\udc00-\udfff]|^\p{Emoji_Modifier}/u.test(text.slice(cut, cut + 2)) || text[cut - 1] === '\u200d') cut += 1;
  return cut;
}

/** About how many lines it takes: room is kept for what is not laid out yet. */
function lines(text: string): number {
  return text.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 90)), 0);
}

function marked(text: string): Child[] {
  const made: Child[] = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (made.length > MOST_MARKS) break;
    const code = match[0].codePointAt(0) ?? 0;
    made.push(text.slice(at, match.index), h('span', { class: 'ft-hidden', title: 'A character that cannot be seen' }, `U+${code.toString(16).toUpperCase().padStart(4, '0')}`));
    at = match.index + match[0].length;
  }
  return [...made, text.slice(at)].filter((part) => part !== '');
}

/** One answer: its letter, its text and how much of it does not fit on the page. */
export class Answer {
  readonly root: HTMLElement;
  readonly label: string;
  readonly text: HTMLElement;
  readonly side: HTMLElement;
  private shown: boolean | null = null;

  /** `letter` stands beside the text, hidden from screen readers: the article's name says it. */
  constructor(readonly name: string, private content: string, unseen: number, letter: Child = name) {
    this.label = name ? `Answer ${name}` : 'Answer';
    this.text = h('div', { class: 'rate-answer', tabindex: '0', role: 'group', 'aria-label': `Text of ${name ? `answer ${name}` : 'the answer'}` });
    this.side = h('div', { class: 'rate-name', 'aria-hidden': letter === name ? 'true' : null }, letter);
    this.root = h('article', { class: 'ft-card rate-card', 'data-answer': name || null, 'aria-label': this.label },
      name && this.side,
      h('div', { class: 'rate-body' }, this.text,
        unseen > 0 && h('p', { class: 'rate-unseen ft-warn' }, `${unseen.toLocaleString('en')} more characters are not shown here.`)));
  }

  show(plain: boolean): void {
    if (plain === this.shown) return;
    this.shown = plain;
    fill(this.text, body(this.content, plain));
  }
}

/** The prompt, or the conversation so far. */
export function conversation(prompt: Message[], plain: boolean): HTMLElement {
  return h('div', { class: 'rate-prompt', role: 'group', 'aria-label': 'Prompt', tabindex: '0' },
    ...prompt.map(({ role, content }) => h('div', { class: `rate-turn rate-${role}` }, h('div', { class: 'rate-role ft-quietly' }, role), body(content, plain || role === 'user' && content.length <= LONG))));
}
