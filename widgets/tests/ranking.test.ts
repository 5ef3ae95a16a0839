import { expect, test } from 'vitest';
import { dense, give, inWords, missing, nextOpen, put, spotOf, spots, tiers, type Ranks } from '../src/lib/ranking';

const name = (card: number) => 'ABCDEFGHI'[card]!;

test('equal numbers are one tier, in the order shown', () => {
  expect(tiers([2, 1, null, 2])).toEqual([{ rank: 1, cards: [1] }, { rank: 2, cards: [0, 3] }]);
});

test('gaps that quick numbers leave are closed when it is saved', () => {
  expect(dense([4, 1, null, 4])).toEqual([2, 1, null, 2]);
});

test('a card put in front of a rank pushes those behind it, and no others', () => {
  expect(put([1, 2, 3, null], 3, { kind: 'before', rank: 2 })).toEqual([1, 3, 4, 2]);
  expect(put([1, 2, 3, null], 2, { kind: 'with', rank: 1 })).toEqual([1, 2, 1, null]);
  expect(put([1, 2, 3, null], 0, { kind: 'none', rank: null })).toEqual([null, 1, 2, null]);
});

test('every spot leads to another ranking, and the card is found there again', () => {
  const rankings: Ranks[] = [[null, null, null, null], [1, 2, 3, 4], [1, 1, 2, null], [2, 1, 2, 1], [null, 1, null, 2, 3, 3, 1, null, 4]];
  for (const ranks of rankings) {
    for (let card = 0; card < ranks.length; card += 1) {
      const all = spots(ranks, card);
      const reached = all.map((spot) => put(ranks, card, spot));
      expect(new Set(reached.map(String)).size).toBe(all.length);
      reached.forEach((result, at) => {
        expect(spotOf(result, card)).toBe(at);
        expect(dense(give(result, card, null))).toEqual(dense(give(ranks, card, null))); // nobody else has moved
        expect(Math.max(...result.map((rank) => rank ?? 0))).toBeLessThanOrEqual(ranks.length);
      });
    }
  }
});

test('the next card without a rank is the one behind, going round', () => {
  expect(nextOpen([1, null, 2, null], 1)).toBe(3);
  expect(nextOpen([1, null, 2, null], 3)).toBe(1);
  expect(nextOpen([1, 2, 3, 4], 0)).toBeNull();
});

test('what is missing is told: all of them, or the best so many', () => {
  expect(missing([1, null, null, null], null)).toBe('3 still without a rank');
  expect(missing([1, null, null, null], 2)).toBe('choose the best 2: 1 more');
  expect(missing([1, 1, null, null], 2)).toBe('');
  expect(missing([1, 2, 3, 4], 9)).toBe('');
});

test('a ranking is read aloud best first', () => {
  expect(inWords([2, 1, 2, null], name)).toBe('B, then A = C; not ranked: D');
});
