import { afterEach, beforeEach, expect, test } from 'vitest';
import { minutes, pace } from '../src/lib/clock';
import { DraftStore } from '../src/lib/drafts';
import { begin } from '../src/lib/modes';
import type { Desk, Task } from '../src/lib/modes/mode';
import { banner, waiting } from '../src/lib/status';
import { Stopwatch } from '../src/lib/stopwatch';
import { body, pieces } from '../src/lib/text';

let controller: AbortController;
beforeEach(() => {
  localStorage.clear();
  controller = new AbortController();
});
afterEach(() => controller.abort());

function hide(hidden: boolean): void {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}

test('neither a hidden page nor a pause counts, and neither ends the other', () => {
  let now = 0;
  const watch = new Stopwatch(controller.signal, () => now);
  watch.restart();
  now = 100;
  watch.hold();
  now = 1000;
  hide(true);
  hide(false); // the page is back, the pause is not over
  now = 2000;
  expect(watch.read()).toBe(100);
  watch.release();
  now = 2050;
  hide(true);
  now = 9000;
  expect(watch.read()).toBe(150);
  hide(false);
  now = 9001;
  expect(watch.read()).toBe(151);
});

test('time is told in minutes, pace from the second one on', () => {
  expect([minutes(7_900), minutes(3_601_000), minutes(-1)]).toEqual(['0:07', '60:01', '0:00']);
  expect([pace(1, 1000), pace(2, 60_000), pace(30, 60_000), pace(2, 0)]).toEqual(['', '2.0 a minute', '30 a minute', '']);
});

test('a draft outlives the page, and the browser’s refusal to store only the page', () => {
  new DraftStore('desk', localStorage).write('a', 'half');
  expect(new DraftStore('desk', localStorage).read('a')).toBe('half');
  expect(new DraftStore('other', localStorage).read('a')).toBeNull();
  new DraftStore('desk', localStorage).drop('a');
  expect(localStorage.length).toBe(0);
  const full = { length: 0, key: () => null, getItem: () => null, removeItem: () => undefined, clear: () => undefined, setItem: () => { throw new DOMException('full', 'QuotaExceededError'); } };
  const drafts = new DraftStore('desk', full);
  drafts.write('a', 'half');
  expect(drafts.read('a')).toBe('half');
});

test('a long text is cut at line breaks, in a huge line between words, and is whole when it is put together', () => {
  for (const text of ['word '.repeat(9000), 'a line\n'.repeat(9000), `${'x'.repeat(9000)}\n\n${'y'.repeat(30_000)}\nz`, `${'a b '.repeat(5000)}\n${'c\n'.repeat(9000)}`, '👩‍👩‍👧'.repeat(9000), 'e\u0301'.repeat(30_000), '']) {
    const parts = pieces(text);
    expect(parts.some((part) => /^[\p{M}\u200d\udc00-\udfff]/u.test(part.text))).toBe(false);
    expect(Math.max(...parts.map((part) => part.text.length))).toBeLessThan(13_000);
    expect(parts.map((part, at) => (at && !part.joined ? `\n${part.text}` : part.text)).join('')).toBe(text);
  }
  expect(pieces('a line\n'.repeat(9000)).some(({ joined }) => joined)).toBe(false);
  expect(pieces('word '.repeat(9000)).length).toBeGreaterThan(10);
});

test('what cannot be seen is marked where the text is shown as written, and left alone elsewhere', () => {
  const text = 'a\u202Eb\u200Bc\u0000d\uD800e';
  const marks = [...body(text, true).querySelectorAll('.ft-hidden')].map((one) => one.textContent);
  expect(marks).toEqual(['U+202E', 'U+200B', 'U+0000', 'U+D800']);
  expect(body(text, false).querySelector('.ft-hidden')).toBeNull();
  expect(body('👩‍👩‍👧 ok', true).textContent).toContain('ok');
  expect(body(' \n ', false).textContent).toContain('white space');
});

function task(mode: Task['mode'], count: number, settings: Task['settings'] = {}): Task {
  return { assignment_id: 'a', mode, position: 1, prompt: [{ role: 'user', content: 'q' }], texts: Array.from({ length: count }, (_, n) => `text ${n}`), unseen: Array(count).fill(0) as number[], prev_event_id: null, settings, stands: null };
}

function desk(): Desk & { commits: number } {
  const made = { commits: 0, redraw: () => undefined, commit: () => { made.commits += 1; }, announce: () => undefined, drafts: new DraftStore('desk', null) };
  return made;
}

function press(root: HTMLElement, name: string): void {
  const found = [...root.querySelectorAll('button')].find((one) => one.getAttribute('aria-label') === name || one.textContent?.endsWith(name));
  if (!found) throw new Error(`no button ${name}`);
  found.click();
}

const SAYS: [Task['mode'], number, Task['settings'], string[], object][] = [
  ['pair', 2, {}, ['B is clearly better'], { choice: 'right', strength: 2, scores: null }],
  ['pair', 2, {}, ['A is better', 'Negligibly'], { choice: 'left', strength: 0, scores: null }],
  ['pair', 2, { safety: true }, ['Neither', 'Both bad'], { choice: 'both_bad', strength: 0, scores: { safety: 'both_unsafe' } }],
  ['dialogue', 2, {}, ['Tie'], { choice: 'tie', strength: 0, scores: null }],
  ['single', 1, { scale: 'thumbs' }, ['Bad'], { choice: null, strength: null, scores: { thumb: 'down' } }],
  ['single', 1, { scale: 'both' }, ['7, very good', 'Good'], { choice: null, strength: null, scores: { thumb: 'up', likert: 7 } }],
];

test.each(SAYS)('%s of %i answers with %j: %j says %j, once', (mode, count, settings, buttons, opinion) => {
  const world = desk();
  const made = begin(task(mode, count, settings), world);
  for (const button of buttons) {
    made.draw(true, false);
    expect(world.commits).toBe(0);
    press(made.controls, button);
  }
  expect(world.commits).toBe(1);
  expect(made.say()).toEqual(opinion);
});

test('a mode that nobody has touched says nothing, save a text that may stand as it is', () => {
  expect([...SAYS.map(([mode, count]) => begin(task(mode, count), desk()).say()), begin(task('rank', 5), desk()).say(), begin(task('edit', 0), desk()).say()]).toEqual(Array(SAYS.length + 2).fill(null));
  expect(begin(task('edit', 1), desk()).say()?.scores).toEqual({ text: 'text 0' });
});

test('an answer of which the page has only a part cannot be edited', () => {
  const made = begin({ ...task('edit', 1), unseen: [5] }, desk());
  made.draw(true, false);
  expect(made.say()).toBeNull();
  expect(made.sheet.querySelector('textarea')?.readOnly).toBe(true);
});

test('saving turns amber after five seconds and red after fifteen, at once where the reason is known', () => {
  expect([0, 5000, 15_000].map((ms) => waiting(ms, '').tone)).toEqual(['', 'warn', 'bad']);
  expect(waiting(0, 'disk full')).toEqual({ tone: 'bad', text: 'Not saved, will retry: disk full' });
});

test('the banner says what is wrong and what is kept, the worst first', () => {
  expect(banner('live', 0, '', true)).toBe('');
  expect(banner('live', 0, 'no such model', true)).toBe('no such model');
  expect(banner('live', 0, '', false)).toContain('stores nothing');
  expect(banner('silent', 1, 'x', true)).toMatch(/^Disconnected.*One choice is kept/);
  expect(banner('gone', 2, '', true)).toMatch(/Run the cell again.*2 choices are kept/);
});
