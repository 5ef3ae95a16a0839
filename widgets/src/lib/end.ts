/** When there is nothing left to rate: thanks, and on request who wrote what was rated. */
import { KeyButton } from './button';
import { h } from './dom';
import type { Progress } from './head';
import type { Task } from './modes/mode';

export interface Standings { heads: string[]; rows: (string | number)[][]; about: string }

/** What a task of each mode is called. */
const NOUNS = { pair: 'pair', single: 'answer', rank: 'ranking', edit: 'text', dialogue: 'turn' } as const;

export function end(mode: Task['mode'], { answered, total }: Progress, { heads, rows, about }: Standings, reveal: () => void): HTMLElement {
  const noun = NOUNS[mode];
  const whole = answered === total && total > 0;
  return h('div', { class: 'rate-end' },
    h('p', {}, h('strong', {}, whole ? `All ${total} ${noun}s are answered. Thank you!` : `No ${noun} is open for you at the moment.`)),
    rows.length
      ? h('div', {}, h('div', { class: 'rate-standings', tabindex: '0', role: 'group', 'aria-label': 'The models' }, h('table', {},
        h('thead', {}, h('tr', {}, ...heads.map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, cell))))))),
      h('p', { class: 'ft-quietly' }, about))
      : answered > 0 && h('div', {}, h('p', { class: 'ft-quietly' }, 'The models have been hidden so far. What you change after seeing them is marked as such.'),
        new KeyButton('m', 'Show the models', reveal, { class: 'ft-primary' }).root));
}
