import { afterEach, expect, test, vi } from 'vitest';
import { fill, h } from '../src/lib/dom';
import { mint } from '../src/lib/id';
import { isTyping, ownKeys } from '../src/lib/keys';
import { Stopwatch } from '../src/lib/stopwatch';

afterEach(() => document.body.replaceChildren());

test('text never becomes markup', () => {
  const element = h('div', { title: '"><img src=x>' }, '<img src=x onerror=alert(1)>', 0, null, false);
  expect(element.children.length).toBe(0);
  expect(element.textContent).toBe('<img src=x onerror=alert(1)>0');
  fill(element, '<b>x</b>');
  expect(element.children.length).toBe(0);
});

test('a handler given as text is refused: it would be run as code', () => {
  expect(() => h('button', { onclick: 'alert(1)' as never })).toThrow(TypeError);
});

test.each([
  ['d', {}, true],
  ['ArrowDown', {}, true],
  ['Enter', { shiftKey: true }, true],
  ['Enter', { ctrlKey: true }, true],
  ['s', { ctrlKey: true }, false],
  ['c', { metaKey: true }, false],
  ['Tab', {}, false],
] as const)('%s with %o stays in the widget: %s', (key, modifiers, stays) => {
  const root = document.body.appendChild(h('div', {}, h('button', {}, 'x')));
  const outside = vi.fn();
  document.body.addEventListener('keydown', outside, { once: true });
  ownKeys(root, () => false, new AbortController().signal);
  root.querySelector('button')!.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...modifiers }));
  expect(outside).toHaveBeenCalledTimes(stays ? 0 : 1);
});

test('somebody who types is told from somebody who commands', () => {
  const area = document.body.appendChild(h('textarea'));
  const seen: boolean[] = [];
  document.body.addEventListener('keydown', (event) => seen.push(isTyping(event)), { once: true });
  area.dispatchEvent(new KeyboardEvent('keydown', { key: '1', bubbles: true }));
  expect(seen).toEqual([true]);
});

test('the stopwatch stands still while the tab is hidden', () => {
  let now = 0;
  const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(false);
  const turn = (value: boolean) => {
    hidden.mockReturnValue(value);
    document.dispatchEvent(new Event('visibilitychange'));
  };
  const watch = new Stopwatch(new AbortController().signal, () => now);
  watch.restart();
  now = 100;
  turn(true);
  now = 5000;
  expect(watch.read()).toBe(100);
  turn(false);
  now = 5050;
  expect(watch.read()).toBe(150);
  hidden.mockRestore();
});

test('ids are 32 hexadecimal digits and differ', () => {
  expect(mint()).toMatch(/^[0-9a-f]{32}$/);
  expect(mint()).not.toBe(mint());
});
