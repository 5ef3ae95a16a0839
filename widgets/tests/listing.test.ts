import { describe, expect, it } from 'vitest';
import { matching, merged, ordered, spark, words, type Row } from '../src/lib/listing';

const row = (name: string, more: Partial<Row> = {}): Row => ({ name, created: 0, status: 'finished', reason: '', position: null, ...more });
const names = (rows: Row[]) => rows.map(({ name }) => name).join('');

describe('the rows of the table', () => {
  it('take what moves from those that train', () => {
    const [a, b] = merged([row('a', { loss: 3 }), row('b', { status: 'running' })], { b: { step: 4, loss: 1 } });
    expect([a?.loss, b?.loss, b?.step]).toEqual([3, 1, 4]);
  });
  it('are found by every word, wherever it stands', () => {
    const rows = [row('tour-sft', { method: 'lora', model: 'wren' }), row('tour-dpo', { method: 'dpo', status: 'failed' }), row('x')];
    expect(names(matching(rows, 'TOUR lora'))).toBe('tour-sft');
    expect(names(matching(rows, 'failed'))).toBe('tour-dpo');
    expect(matching(rows, '  ')).toHaveLength(3);
    expect(matching(rows, 'undefined')).toHaveLength(0);
  });
  it('are ordered both ways with the unknown last, and equals stay as they were', () => {
    const rows = [row('a', { loss: 2 }), row('b'), row('c', { loss: 1 }), row('d', { loss: null }), row('e', { loss: 2 })];
    expect(names(ordered(rows, 'loss', true))).toBe('caebd');
    expect(names(ordered(rows, 'loss', false))).toBe('aecbd');
  });
  it('count numbers in names, and put those first that live', () => {
    expect(names(ordered([row('run-10'), row('run-9')], 'name', true))).toBe('run-9run-10');
    const rows = [row('a'), row('b', { status: 'queued', position: 2 }), row('c', { status: 'queued', position: 1 }), row('d', { status: 'running' })];
    expect(names(ordered(rows, 'status', true))).toBe('dcba');
  });
  it('say a figure that was not a number, and nothing of one that is not known', () => {
    expect(words(row('a', { loss: null }), 'loss')).toBe('not a number');
    expect(words(row('a'), 'loss')).toBe('');
    expect(words(row('a', { step: 1200, total: 4000 }), 'progress')).toBe('1,200 of 4,000');
    expect(words(row('a', { seconds: 200 }), 'seconds')).toBe('3 min 20 s');
    expect(words(row('a', { memory: 1234.5 }), 'memory')).toBe('1,235 MiB');
  });
});

describe('the small curve', () => {
  it('fills its box from the greatest to the least', () => {
    expect(spark([2, 1, 0], 10, 10)).toEqual(['1.0,1.0 5.0,5.0 9.0,9.0']);
  });
  it('breaks where a figure was not a number, and a flat one lies still', () => {
    expect(spark([1, 2, null, 1, 2], 10, 10)).toHaveLength(2);
    expect(spark([1, 1], 10, 10)).toEqual(['1.0,9.0 9.0,9.0']);
    expect(spark([], 10, 10)).toEqual([]);
  });
});
