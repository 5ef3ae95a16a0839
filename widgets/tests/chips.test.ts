import { expect, test } from 'vitest';
import { kindOf, spoken, strength, told, total, visible, type Part } from '../src/lib/chips';

const PART: Part = { row: 0, label: '', ids: [5, 6, 7, 8], texts: ['User', ' Tom', '.', '<|end|>'], trained: '0011', template: '1001', kept: 3, note: '', hidden: 0 };
const LOSSES = { losses: [null, 1, 2, 4], candidates: [[], [], [], []] };

test.each([[' a', '·a'], ['\n', '⏎'], ['a\tb', 'a⇥b'], ['', '∅'], ['<b>', '<b>']])('%j is drawn as %j', (text, drawn) => {
  expect(visible(text)).toBe(drawn);
});

test.each([[' ', 'space'], ['\n', 'line break'], [' Tom', 'Tom'], ['', 'nothing']])('%j is spoken as %j', (text, words) => {
  expect(spoken(text)).toBe(words);
});

test('a token is learned, read or cut', () => {
  expect([0, 1, 2, 3].map((place) => kindOf(PART, place))).toEqual(['context', 'context', 'learned', 'cut']);
});

test('only what is learned counts in the loss, and what is cut does not', () => {
  expect(total([PART], [LOSSES])).toEqual({ sum: 2, mean: 2, count: 1 });
  expect(total([PART], [])).toBeNull();
});

test.each([[0, 0], [3, 50], [6, 100], [99, 100], [-0.1, 0]])('a loss of %d nats is %d percent of the colour', (loss, percent) => {
  expect(strength(loss)).toBe(percent);
});

test('a screen reader hears weight, template and loss', () => {
  expect(told(PART, 2, LOSSES)).toBe('token 2, ., learned, loss 2.00');
  expect(told(PART, 3, undefined)).toBe('token 3, <|end|>, cut off, written by the template');
});
