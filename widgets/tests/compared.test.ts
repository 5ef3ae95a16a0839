import { expect, it } from 'vitest';
import { dash } from '../src/lib/chart';
import { along, type Compared } from '../src/lib/compared';

const int32 = (...n: number[]) => new DataView(new Int32Array(n).buffer);
const float32 = (...n: number[]) => new DataView(new Float32Array(n).buffer);

const compared: Compared = {
  selected: ['a', 'b'],
  metric: 'eval/loss',
  metrics: [],
  curves: [{ run: 'a', kind: 'points', unit: 'nats', length: 2 }, { run: 'b', kind: 'points', unit: 'nats', length: 1 }],
  steps: int32(5, 10, 5),
  values: float32(2, NaN, 3),
  tokens: float32(500, 1000, NaN),
  seconds: float32(0.5, 1, 7),
  differences: [],
  answers: [],
};

it('lays the same figures along steps, tokens or seconds', () => {
  expect(along(compared, 'step').map(({ steps }) => steps)).toEqual([[5, 10], [5]]);
  expect(along(compared, 'seconds').map(({ steps }) => steps)).toEqual([[0.5, 1], [7]]);
  expect(along(compared, 'seconds')[0]?.figures).toEqual([2, null]);
});

it('leaves out what has no place on the axis', () => {
  expect(along(compared, 'tokens').map(({ steps, figures }) => [steps, figures])).toEqual([[[500, 1000], [2, null]], [[], []]]);
});

it('joins evaluations, and leaves a single one a mark', () => {
  expect(along(compared, 'step').map(({ kind }) => kind)).toEqual(['line', 'points']);
});

it('gives twelve lines of six colours a look each', () => {
  const looks = Array.from({ length: 12 }, (_, place) => `${place % 6}:${dash(place).join()}`);
  expect(new Set(looks).size).toBe(12);
});
