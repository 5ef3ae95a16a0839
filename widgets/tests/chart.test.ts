import { describe, expect, it } from 'vitest';
import { align, duration, figure, gaps, lonely, panels, positive, smooth, unpack, upTo, type SeriesInfo } from '../src/lib/chart';

const info = (name: string, length: number, panel = 'Loss'): SeriesInfo => ({
  name,
  length,
  panel,
  label: name,
  unit: 'nats',
  kind: 'line',
});
const int32 = (...n: number[]) => new DataView(new Int32Array(n).buffer);
const float32 = (...n: number[]) => new DataView(new Float32Array(n).buffer);

describe('unpack', () => {
  it('cuts the packed traits into series and makes NaN null', () => {
    const [loss, other] = unpack([info('loss', 3), info('eval', 1)], int32(1, 2, 3, 2), float32(2, NaN, 1, 1.5));
    expect(loss).toMatchObject({ name: 'loss', steps: [1, 2, 3], figures: [2, null, 1] });
    expect(other).toMatchObject({ name: 'eval', steps: [2], figures: [1.5] });
  });
  it('reads a view that starts inside its buffer', () => {
    const view = (data: ArrayBuffer) => new DataView(data, 4, 4);
    const got = unpack([info('loss', 1)], view(new Int32Array([9, 5]).buffer), view(new Float32Array([9, 5]).buffer));
    expect(got[0]).toMatchObject({ steps: [5], figures: [5] });
  });
  it('leaves out a series whose numbers have not come', () => {
    expect(unpack([info('loss', 1), info('eval', 4)], int32(1), float32(1))).toHaveLength(1);
  });
});

describe('smooth', () => {
  it('changes nothing at weight 0', () => {
    expect(smooth([3, 1, 2], 0)).toEqual([3, 1, 2]);
  });
  it('starts at the first value instead of near zero', () => {
    const got = smooth([5, 5, 5], 0.99);
    for (const value of got) expect(value).toBeCloseTo(5, 9);
  });
  it('leaves a gap a gap and goes on behind it as if it were not there', () => {
    const got = smooth([4, null, 2], 0.5);
    expect(got[1]).toBeNull();
    expect(got[2]).toBeCloseTo(smooth([4, 2], 0.5)[1]!, 12);
  });
});

describe('align', () => {
  it('puts every figure at its step and tells nothing from not a number', () => {
    const table = align([
      { steps: [1, 2, 4], figures: [3, null, 1] },
      { steps: [2, 3], figures: [7, 8] },
    ]);
    expect(table.steps).toEqual([1, 2, 3, 4]);
    expect(table.columns).toEqual([
      [3, null, undefined, 1],
      [undefined, 7, 8, undefined],
    ]);
  });
});

describe('positive', () => {
  it('leaves out what a logarithm cannot show and keeps gaps', () => {
    expect(positive([[1, 0, -2, null, undefined]])).toEqual([[1, undefined, undefined, null, undefined]]);
  });
});

describe('gaps', () => {
  it('names the steps without a number', () => {
    expect(gaps({ steps: [1, 5, 9], figures: [1, null, 2] })).toEqual([5]);
  });
});

describe('figure', () => {
  it.each([
    [undefined, '–'],
    [null, 'not a number'],
    [0, '0 nats'],
    [1.23456, '1.235 nats'],
    [0.0003, '3.00e-4 nats'],
    [1234.5, '1235 nats'],
    [1234567.8, '1,234,568 nats'],
  ])('writes %s as %s', (value, text) => {
    expect(figure(value, 'nats')).toBe(text);
  });
});

describe('duration', () => {
  it.each([
    [0.4, '0 s'],
    [48, '48 s'],
    [200, '3 min 20 s'],
    [7500, '2 h 05 min'],
    [-3, '0 s'],
  ])('writes %s seconds as %s', (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });
});

describe('panels', () => {
  it('groups series and keeps the order in which the panels first come', () => {
    const all = [info('loss', 0), info('lr', 0, 'Learning rate'), info('eval', 0)].map((one) => ({
      ...one,
      steps: [],
      figures: [],
    }));
    const got = panels(all);
    expect([...got.keys()]).toEqual(['Loss', 'Learning rate']);
    expect(got.get('Loss')!.map((one) => one.name)).toEqual(['loss', 'eval']);
  });
});

describe('lonely', () => {
  it('finds the figures between two gaps, past columns that have nothing there', () => {
    expect(lonely([1, undefined, 2, null, undefined, 3, null, 4])).toEqual([5, 7]);
    expect(lonely([undefined, 7, undefined])).toEqual([1]);
    expect(lonely([])).toEqual([]);
  });
});

describe('upTo', () => {
  it('gives the latest figure that was there, a gap included', () => {
    expect(upTo([5, undefined, undefined], 2)).toEqual({ at: 0, value: 5 });
    expect(upTo([5, null, undefined], 2)).toEqual({ at: 1, value: null });
    expect(upTo([undefined, 3], 0)).toBeNull();
  });
});
