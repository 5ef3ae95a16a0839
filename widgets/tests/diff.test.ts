import { describe, expect, it } from 'vitest';
import { diff, likeness, MOST_WORDS, words } from '../src/lib/diff';

const side = (pieces: ReturnType<typeof diff>, other: 'added' | 'removed') =>
  pieces.filter((p) => p.kind === 'same' || p.kind === other).map((p) => p.text).join('');

/** A small generator with a seed, so that a failure can be had again. */
function* texts(seed: number, count: number) {
  const bits = ['Tom', ' ', '  ', '\n', 'has', 'a', 'cat', '.', "don't", 'é', '日本', '🙂', '', '!'];
  let state = seed;
  const next = (n: number) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n;
  for (let k = 0; k < count; k++) yield Array.from({ length: next(25) }, () => bits[next(bits.length)]).join('');
}

describe('words', () => {
  it('gives the text back when joined', () => {
    for (const text of texts(7, 200)) expect(words(text).join('')).toBe(text);
  });
  it('keeps an apostrophe inside its word and a full stop outside', () => {
    expect(words("Don't go.")).toEqual(["Don't", ' ', 'go', '.']);
  });
});

describe('diff', () => {
  it('holds both texts whole, whatever they are', () => {
    const all = [...texts(1, 80)];
    for (const a of all)
      for (const b of all.slice(0, 12)) {
        const pieces = diff(a, b);
        expect(side(pieces, 'removed')).toBe(a);
        expect(side(pieces, 'added')).toBe(b);
      }
  });
  it('marks only the word that changed', () => {
    expect(diff('Tom has a cat.', 'Tom has a dog.')).toEqual([
      { kind: 'same', text: 'Tom has a ' },
      { kind: 'removed', text: 'cat' },
      { kind: 'added', text: 'dog' },
      { kind: 'same', text: '.' },
    ]);
  });
  it('marks a rewritten phrase as one piece, spaces included', () => {
    expect(diff('I like red apples', 'I like green pears')).toEqual([
      { kind: 'same', text: 'I like ' },
      { kind: 'removed', text: 'red apples' },
      { kind: 'added', text: 'green pears' },
    ]);
  });
  it('has one piece for equal texts and none for empty ones', () => {
    expect(diff('same', 'same')).toEqual([{ kind: 'same', text: 'same' }]);
    expect(diff('', '')).toEqual([]);
  });
  it('stays whole and quick on texts beyond its table', () => {
    const a = 'start ' + 'x '.repeat(MOST_WORDS) + 'end';
    const b = 'start ' + 'y '.repeat(MOST_WORDS) + 'end';
    const pieces = diff(a, b);
    expect(side(pieces, 'removed')).toBe(a);
    expect(side(pieces, 'added')).toBe(b);
    expect(pieces[0]).toEqual({ kind: 'same', text: 'start ' });
  });
});

describe('likeness', () => {
  it('is 1 for the same words, 0 for none in common, between otherwise', () => {
    expect(likeness(diff('a b', 'a b'))).toBe(1);
    expect(likeness(diff('a b', 'c d'))).toBe(0);
    expect(likeness(diff('Tom has a cat', 'Tom has a dog'))).toBeCloseTo(0.75);
    expect(likeness([])).toBe(1);
  });
});
