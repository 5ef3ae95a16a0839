import { expect, it } from 'vitest';
import { withLast } from '../src/lib/ranking';

it('gives the last card the number that is left, and only where there is one', () => {
  expect(withLast([2, 1, null, 4])).toEqual([2, 1, 3, 4]);
  expect(withLast([1, 1, null, 2])).toEqual([1, 1, null, 2]); // after a tie nothing is plain
  expect(withLast([1, null, null, 2])).toEqual([1, null, null, 2]);
  expect(withLast([1, 2, 3, 4])).toEqual([1, 2, 3, 4]);
});
