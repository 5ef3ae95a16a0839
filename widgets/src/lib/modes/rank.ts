/** Four to nine answers: which is the best, which the next? Dragged, moved by keys, or given numbers. */
import { KeyButton, SEND } from '../button';
import { fill, h, setText } from '../dom';
import { draggable } from '../drag';
import { cardsAt, dense, give, inWords, missing, nextOpen, put, spotOf, spots, tiers, withLast, type Ranks, type Spot } from '../ranking';
import { Answer, nameOf } from '../text';
import type { Desk, Mode, Opinion, Task } from './mode';

class Card {
  readonly answer: Answer;
  readonly handle: HTMLButtonElement;
  private readonly numbers: HTMLButtonElement[];

  constructor(readonly index: number, count: number, text: string, unseen: number, give: (rank: number) => void) {
    const name = nameOf(index);
    this.handle = h('button', { type: 'button', class: 'rate-handle', 'data-card': name, 'aria-keyshortcuts': 'Space' }, h('span', { 'aria-hidden': 'true' }, name), h('span', { class: 'rate-grip', 'aria-hidden': 'true' }));
    this.answer = new Answer(name, text, unseen, this.handle);
    // for one click instead of a drag; the keyboard has the digits, and need not stop at nine buttons a card
    this.numbers = Array.from({ length: count }, (_, at) => h('button', { type: 'button', class: 'rate-number', tabindex: '-1', 'aria-label': `Rank ${at + 1} for answer ${name}`, onclick: () => give(at + 1) }, at + 1));
    this.answer.root.lastElementChild?.append(h('div', { class: 'rate-numbers', role: 'group', 'aria-label': `Rank of answer ${name}` }, h('span', { class: 'ft-quietly', 'aria-hidden': 'true' }, 'Rank'), ...this.numbers));
  }

  draw(open: boolean, rank: number | null, words: string, held: boolean): void {
    this.handle.disabled = !open;
    this.handle.setAttribute('aria-label', `Answer ${nameOf(this.index)}, ${words}${held ? ', picked up' : ''}`);
    this.handle.setAttribute('aria-pressed', String(held));
    this.answer.root.classList.toggle('rate-held', held);
    this.numbers.forEach((button, at) => {
      button.disabled = !open;
      button.setAttribute('aria-pressed', String(rank === at + 1));
    });
  }
}

export class Rank implements Mode {
  readonly sheet: HTMLElement;
  readonly controls: HTMLElement;
  readonly help: Mode['help'];
  private readonly cards: Card[];
  private readonly best: number | null;
  private readonly list = h('div', { class: 'rate-tiers' });
  private readonly told = h('span', { class: 'rate-order ft-quietly' });
  private readonly save: KeyButton;
  private readonly clear: KeyButton;
  private readonly cleanUp = new AbortController();
  private ranks: Ranks;
  private held: { card: number; before: Ranks } | null = null; // picked up by a key
  private target: Spot | null = null; // under the pointer
  private open = false;

  constructor(task: Task, private desk: Desk) {
    const count = task.texts.length;
    const stood = task.stands?.scores?.ranks;
    this.best = task.settings.best ?? null;
    this.ranks = Array.isArray(stood) && stood.length === count ? (stood as Ranks) : task.texts.map(() => null);
    this.cards = task.texts.map((text, index) => new Card(index, count, text, task.unseen[index] ?? 0, (rank) => this.number(index, rank)));
    for (const card of this.cards) this.drags(card);
    this.save = new KeyButton(SEND, 'Save the ranking', () => this.desk.commit(), { class: 'ft-primary' });
    this.clear = new KeyButton('', 'Start over', () => this.change(task.texts.map(() => null), 'No answer has a rank'), { class: 'ft-quiet' });
    this.sheet = this.list;
    this.controls = h('div', { class: 'rate-asked' }, h('div', { class: 'ft-row rate-send' }, this.save.root, this.clear.root, this.told));
    this.help = [[`1–${count}`, 'rank of the card'], ['↑ ↓', 'cards'], ['Space', 'pick up and drop'], ['0', 'no rank'], ['⏎', 'save']];
  }

  draw(open: boolean, plain: boolean): void {
    this.open = open;
    const focused = document.activeElement;
    const order = [...tiers(this.ranks).map(({ rank, cards }) => ({ rank: rank as number | null, cards })), { rank: null, cards: cardsAt(this.ranks, null) }];
    const state = JSON.stringify(order);
    if (this.list.dataset.order !== state) {
      this.list.dataset.order = state;
      this.glide(() => fill(this.list, ...order.map(({ rank, cards }) => (rank !== null || cards.length) && this.row(rank, cards))));
      if (focused instanceof HTMLElement && this.list.contains(focused)) focused.focus({ preventScroll: true });
    }
    for (const card of this.cards) {
      card.answer.show(plain);
      card.draw(open, this.ranks[card.index] ?? null, this.words(card.index), this.held?.card === card.index);
    }
    const lacks = missing(this.ranks, this.best);
    this.save.set({ open: open && !lacks && !this.held });
    this.clear.set({ open: open && this.ranks.some((rank) => rank !== null) });
    setText(this.told, lacks || inWords(this.ranks, nameOf));
  }

  /** One rank with its cards, or those without one. */
  private row(rank: number | null, cards: number[]): HTMLElement {
    const heading = rank === null ? (this.best === null ? 'Not ranked yet' : `Not among the best ${this.best}`) : cards.length > 1 ? `Rank ${rank}, a tie` : `Rank ${rank}`;
    return h('section', { class: `rate-tier${rank === null ? ' rate-pool' : ''}`, 'aria-label': heading, 'data-rank': rank ?? '' },
      h('div', { class: 'rate-rank', 'aria-hidden': 'true' }, rank ?? heading), h('div', { class: 'rate-equals' }, ...cards.map((card) => this.cards[card]!.answer.root)));
  }

  /** Cards move to their new place instead of jumping there. */
  private glide(change: () => void): void {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const before = this.cards.map(({ answer }) => answer.root.getBoundingClientRect().top);
    change();
    if (calm) return;
    this.cards.forEach(({ answer }, index) => {
      const by = before[index]! - answer.root.getBoundingClientRect().top;
      if (by && before[index]) answer.root.animate([{ transform: `translateY(${by}px)` }, { transform: 'none' }], { duration: 160, easing: 'ease-out' });
    });
  }

  private words(card: number): string {
    const rank = this.ranks[card] ?? null;
    if (rank === null) return 'not ranked';
    const equals = cardsAt(this.ranks, rank).filter((one) => one !== card).map(nameOf);
    return `rank ${rank}${equals.length ? `, tied with ${equals.join(' and ')}` : ''}`;
  }

  private change(ranks: Ranks, words: string): void {
    if (!this.open) return;
    this.ranks = ranks;
    this.desk.redraw();
    this.desk.announce(words);
  }

  private number(card: number, rank: number | null): void {
    this.change(give(this.ranks, card, rank), '');
    this.desk.announce(`Answer ${nameOf(card)}: ${this.words(card)}`);
  }

  private drags(card: Card): void {
    const root = card.answer.root;
    draggable(card.handle, root, () => this.open, {
      start: () => {
        this.held = null;
        this.list.classList.add('rate-dragging');
      },
      move: (y) => this.aim(card.index, y),
      end: (dropped) => {
        const spot = this.target;
        this.list.classList.remove('rate-dragging');
        this.mark(null, null);
        if (dropped && spot) this.change(put(this.ranks, card.index, spot), '');
        this.desk.announce(`Answer ${nameOf(card.index)}: ${this.words(card.index)}`);
      },
    }, this.cleanUp.signal);
  }

  /** The spot under the pointer: a rank's middle is a tie with it, its edges are in front of and behind it. */
  private aim(card: number, y: number): void {
    const others = dense(give(this.ranks, card, null));
    const rows = [...this.list.querySelectorAll<HTMLElement>('.rate-tier:not(.rate-pool)')].filter((row) => [...row.querySelectorAll('[data-answer]')].some((one) => !one.classList.contains('rate-lifted')));
    const pool = this.list.querySelector<HTMLElement>('.rate-pool');
    for (const [at, row] of rows.entries()) {
      const { top, bottom } = row.getBoundingClientRect();
      const third = Math.min(44, (bottom - top) / 3);
      if (y < top + third) return this.mark({ kind: 'before', rank: at + 1 }, row, 'before');
      if (y < bottom - third) return this.mark({ kind: 'with', rank: at + 1 }, row, 'with');
      if (y < bottom) return this.mark({ kind: 'before', rank: at + 2 }, row, 'after');
    }
    const top = pool?.getBoundingClientRect().top ?? Infinity;
    const last = tiers(others).length;
    if (pool && y > top + 32) return this.mark({ kind: 'none', rank: null }, pool, 'with');
    return this.mark({ kind: 'before', rank: last + 1 }, rows.at(-1) ?? pool, rows.length ? 'after' : 'before');
  }

  private mark(spot: Spot | null, row: HTMLElement | null | undefined, where = ''): void {
    this.target = spot;
    for (const one of this.list.querySelectorAll<HTMLElement>('[data-drop]')) if (one !== row || one.dataset.drop !== where) delete one.dataset.drop;
    if (row && row.dataset.drop !== where) row.dataset.drop = where;
  }

  key(event: KeyboardEvent): boolean {
    const target = event.target as HTMLElement;
    const name = target.dataset.card;
    const card = name ? this.cards.findIndex(({ index }) => nameOf(index) === name) : -1;
    const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
    if (digit !== null && digit <= this.cards.length) {
      if (!event.repeat && this.open) this.digit(card >= 0 ? card : cardsAt(this.ranks, null)[0] ?? 0, digit || null);
      return true;
    }
    if (event.key === 'Enter' && !event.repeat && (card >= 0 || !target.matches('button'))) {
      if (this.held) this.drop();
      else this.desk.commit();
      return true;
    }
    if (card < 0) return false;
    if (event.key === ' ') {
      if (!event.repeat && this.open) this.pick(card);
      return true;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return false;
    if (this.held) this.shift(card, step);
    else this.walk(target, step);
    return true;
  }

  /** The number goes to this card, and the focus to the next one that has none; the last one is given what is left. */
  private digit(card: number, rank: number | null): void {
    this.held = null;
    this.number(card, rank);
    const next = rank === null ? card : nextOpen(this.ranks, card) ?? card;
    if (rank !== null && this.best === null && withLast(this.ranks) !== this.ranks) {
      this.change(withLast(this.ranks), '');
      this.desk.announce(`Answer ${nameOf(next)}: ${this.words(next)}, what is left`);
    }
    this.cards[next]!.handle.focus({ preventScroll: true });
    this.cards[next]!.answer.root.scrollIntoView({ block: 'nearest' });
  }

  private pick(card: number): void {
    if (this.held) {
      this.drop();
      return;
    }
    this.held = { card, before: this.ranks };
    this.desk.redraw();
    this.desk.announce(`Answer ${nameOf(card)} picked up, ${this.words(card)}. Up and down move it, Space drops it, Escape puts it back.`);
  }

  private drop(): void {
    const card = this.held!.card;
    this.held = null;
    this.desk.redraw();
    this.desk.announce(`Answer ${nameOf(card)} dropped, ${this.words(card)}.`);
  }

  private shift(card: number, step: number): void {
    const all = spots(this.ranks, card);
    const spot = all[Math.min(all.length - 1, Math.max(0, spotOf(this.ranks, card) + step))]!;
    this.change(put(this.ranks, card, spot), '');
    this.cards[card]!.answer.root.scrollIntoView({ block: 'nearest' });
    this.desk.announce(`Answer ${nameOf(card)}: ${this.words(card)}`);
  }

  private walk(from: HTMLElement, step: number): void {
    const all = [...this.list.querySelectorAll<HTMLElement>('.rate-handle')];
    const next = all[all.indexOf(from) + step];
    next?.focus({ preventScroll: true });
    next?.closest('article')?.scrollIntoView({ block: 'nearest' });
  }

  back(): boolean {
    if (!this.held) return false;
    const { card, before } = this.held;
    this.held = null;
    this.ranks = before;
    this.desk.announce(`Answer ${nameOf(card)} put back, ${this.words(card)}.`);
    return true;
  }

  say(): Opinion | null {
    if (this.held || missing(this.ranks, this.best)) return null;
    return { choice: null, strength: null, scores: { ranks: dense(this.ranks) } };
  }

  focus(): void {
    const first = cardsAt(this.ranks, null)[0] ?? tiers(this.ranks)[0]?.cards[0] ?? 0;
    this.cards[first]?.handle.focus({ preventScroll: true });
  }

  close(): void {
    this.cleanUp.abort();
  }
}
