/** A small still chart as SVG: a few lines over a common axis, with a mark for a place on it. */
import { brief } from './chart';

export interface Line { name: string; steps: number[]; values: (number | null)[]; points: boolean }

const WIDTH = 420;
const HEIGHT = 210;
const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const NAMED = 14; // room for the name of the upright axis, above it
const BOTTOM = 38;
const SPACE = 'http://www.w3.org/2000/svg';

/** Lines by position (colour and dashes, `pl-line-N`), their names below; `here` is drawn as an upright line. */
export function plot(title: string, lines: Line[], x: string, y: string, here: number | null): HTMLElement {
  const known = lines.flatMap(({ steps, values }) => steps.flatMap((step, at) => (typeof values[at] === 'number' ? [[step, values[at]] as [number, number]] : [])));
  const root = document.createElement('figure');
  root.className = 'pl';
  if (!known.length) {
    root.textContent = 'Nothing to draw yet.';
    return root;
  }
  const [left, right] = range(known.map(([step]) => step));
  const [low, high] = range(known.map(([, value]) => value));
  const top = TOP + (y ? NAMED : 0);
  const across = (step: number) => LEFT + ((step - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const up = (value: number) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - top - BOTTOM);
  const svg = element('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${title}: ${told(lines)}` });
  for (const value of [low, (low + high) / 2, high]) {
    svg.append(element('line', { class: 'pl-grid', x1: LEFT, x2: WIDTH - RIGHT, y1: up(value), y2: up(value) }));
    svg.append(text(brief(value), { class: 'pl-tick', x: LEFT - 6, y: up(value) + 4, 'text-anchor': 'end' }));
  }
  for (const step of [left, right]) svg.append(text(brief(step), { class: 'pl-tick', x: across(step), y: HEIGHT - BOTTOM + 15, 'text-anchor': step === left ? 'start' : 'end' }));
  svg.append(text(x, { class: 'pl-tick', x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, 'text-anchor': 'middle' }));
  if (y) svg.append(text(y, { class: 'pl-tick', x: LEFT, y: TOP + 2, 'text-anchor': 'start' }));
  if (here !== null) svg.append(element('line', { class: 'pl-here', x1: across(here), x2: across(here), y1: top, y2: HEIGHT - BOTTOM }));
  lines.forEach((line, place) => {
    const spots = line.steps.flatMap((step, at) => (typeof line.values[at] === 'number' ? [[across(step), up(line.values[at] as number)] as const] : []));
    if (!line.points) svg.append(element('polyline', { class: `pl-line-${place % 6}`, points: spots.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(' ') }));
    if (line.points || spots.length < 12) for (const [a, b] of spots) svg.append(element('circle', { class: `pl-dot-${place % 6}`, cx: a, cy: b, r: 3 }));
  });
  root.append(svg);
  const names = document.createElement('figcaption');
  lines.forEach((line, place) => {
    const name = document.createElement('span');
    const swatch = element('svg', { class: 'pl-swatch', viewBox: '0 0 22 6', 'aria-hidden': 'true' });
    swatch.append(element('line', { class: `pl-line-${place % 6}`, x1: 0, x2: 22, y1: 3, y2: 3 }));
    name.append(swatch, line.name);
    names.append(name);
  });
  root.append(names);
  return root;
}

function range(values: number[]): [number, number] {
  const low = Math.min(...values);
  const high = Math.max(...values);
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

function told(lines: Line[]): string {
  return lines.map(({ name, values }) => `${name} from ${brief(values[0] ?? null)} to ${brief(values.at(-1) ?? null)}`).join('; ');
}

function element(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

function text(words: string, attributes: Record<string, string | number>): SVGElement {
  const made = element('text', attributes);
  made.textContent = words;
  return made;
}
