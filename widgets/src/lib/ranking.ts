/** A ranking with ties and gaps: one number for each card in the order shown, 1 the best, null not ranked. */
export type Ranks = readonly (number | null)[];

/** Where a card can go: alone in front of a rank, onto a rank beside others, or among those not ranked. */
export type Spot = { kind: 'before' | 'with'; rank: number } | { kind: 'none'; rank: null };

export interface Tier { rank: number; cards: number[] }

/** The ranked cards, best first; equals together, in the order shown. */
export function tiers(ranks: Ranks): Tier[] {
  const numbers = [...new Set(ranks.filter((rank) => rank !== null))].sort((a, b) => a - b);
  return numbers.map((rank) => ({ rank, cards: cardsAt(ranks, rank) }));
}

/** The cards with this rank; null: those without one. */
export function cardsAt(ranks: Ranks, wanted: number | null): number[] {
  return ranks.flatMap((rank, card) => (rank === wanted ? [card] : []));
}

/** The same order without gaps: 1, 2, 3 … */
export function dense(ranks: Ranks): Ranks {
  const numbers = tiers(ranks).map(({ rank }) => rank);
  return ranks.map((rank) => (rank === null ? null : numbers.indexOf(rank) + 1));
}

/** A card gets this number, whoever has it already. */
export function give(ranks: Ranks, card: number, rank: number | null): Ranks {
  return ranks.map((old, index) => (index === card ? rank : old));
}

/** The last card without a rank gets the number that is left, where each of the others has one of its own. */
export function withLast(ranks: Ranks): Ranks {
  const [last, ...more] = cardsAt(ranks, null);
  const given = new Set(ranks.filter((rank) => rank !== null));
  const left = ranks.map((_, at) => at + 1).filter((rank) => !given.has(rank));
  return last === undefined || more.length || left.length !== 1 ? ranks : give(ranks, last, left[0]!);
}

/** Every spot for a card, best first. Ranks are those of the others, without gaps. */
export function spots(ranks: Ranks, card: number): Spot[] {
  const others = tiers(dense(give(ranks, card, null)));
  return [
    ...others.flatMap(({ rank }): Spot[] => [{ kind: 'before', rank }, { kind: 'with', rank }]),
    { kind: 'before', rank: others.length + 1 },
    { kind: 'none', rank: null },
  ];
}

/** The ranking with the card at one of its `spots`; without gaps. */
export function put(ranks: Ranks, card: number, spot: Spot): Ranks {
  const others = dense(give(ranks, card, null));
  if (spot.kind === 'none') return others;
  const pushed = spot.kind === 'before' ? others.map((rank) => (rank !== null && rank >= spot.rank ? rank + 1 : rank)) : others;
  return give(pushed, card, spot.rank);
}

/** Index in `spots` of where the card is. */
export function spotOf(ranks: Ranks, card: number): number {
  const now = String(dense(ranks));
  return spots(ranks, card).findIndex((spot) => String(put(ranks, card, spot)) === now);
}

/** The next card without a rank behind this one, going round; null where all have one. */
export function nextOpen(ranks: Ranks, card: number): number | null {
  for (let step = 1; step <= ranks.length; step += 1) {
    const at = (card + step) % ranks.length;
    if (ranks[at] === null) return at;
  }
  return null;
}

/** What is missing before it can be saved, in words; "" where nothing is. `best`: only so many need a rank. */
export function missing(ranks: Ranks, best: number | null): string {
  const ranked = ranks.filter((rank) => rank !== null).length;
  const wanted = Math.min(best ?? ranks.length, ranks.length);
  if (ranked >= wanted) return '';
  const more = wanted - ranked;
  return best === null ? `${more} still without a rank` : `choose the best ${wanted}: ${more} more`;
}

/** "B, then A = C, then D; not ranked: E". */
export function inWords(ranks: Ranks, name: (card: number) => string): string {
  const order = tiers(ranks).map(({ cards }) => cards.map(name).join(' = ')).join(', then ');
  const rest = cardsAt(ranks, null).map(name).join(', ');
  return [order, rest && `not ranked: ${rest}`].filter(Boolean).join('; ');
}
