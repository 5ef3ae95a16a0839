/** Pages made beforehand, turned by hand: a slider or a choice for each thing that may differ. */
import { Channel } from './lib/channel';
import { brief } from './lib/chart';
import { fill, h, setText } from './lib/dom';
import { ownKeys } from './lib/keys';
import { observe, type Model, type Scene } from './lib/model';
import { plot, type Line } from './lib/plot';

interface Axis { name: string; labels: string[]; kind: 'slider' | 'choice' }
interface Said { kind: 'said'; label: string; text: string; note: string }
interface Bars { kind: 'bars'; title: string; rows: [string, number | null][]; low: number; high: number; unit: string }
interface Words { kind: 'words'; title: string; words: { text: string; weight: number; about: string }[]; plus: string; minus: string }
interface Cells { kind: 'cells'; title: string; head: string[]; rows: (string | number | null)[][] }
interface Curves { kind: 'curves'; title: string; lines: Line[]; x: string; y: string; here: number | null }
interface Heat { kind: 'heat'; title: string; values: number[][]; most: number | null; about: string }
type Block = Said | Bars | Words | Cells | Curves | Heat;

/** Mirrors the synced traits of ftlab/widgets/flipbook.py. */
interface Traits {
  title: string;
  about: string;
  axes: Axis[];
  at: number[];
  pages: Block[][];
  error: string;
}

const STEP_MS = 700; // between two pages while it plays: long enough to read a bar's way

class Book {
  readonly root: HTMLElement;
  private at: number[];
  private playing: ReturnType<typeof setInterval> | undefined;
  private readonly sheet = h('div', { class: 'fb-sheet' });
  private readonly controls: { show(place: number): void }[];
  private readonly play = h('button', { type: 'button', class: 'ft-quiet', onclick: () => this.toggle() }, '▶ Play');
  private readonly told = h('div', { class: 'ft-unseen', role: 'status' });
  private shown: { kind: string; root: HTMLElement; update(block: Block): void }[] = [];

  constructor(private model: Model<Traits>, private channel: Channel, signal: AbortSignal) {
    this.at = [...model.get('at')];
    const axes = model.get('axes');
    const made = axes.map((axis, place) => control(axis, (value) => {
      this.stop();
      this.turn(place, value);
    }));
    this.controls = made;
    this.root = h('section', { class: 'ftlab fb', 'aria-label': model.get('title') || 'Flipbook' },
      model.get('title') && h('h3', { class: 'fb-title' }, model.get('title')),
      model.get('about') && h('p', { class: 'fb-about ft-quietly' }, model.get('about')),
      h('div', { class: 'fb-controls' }, ...made.map(({ root }) => root), axes.some(({ kind }) => kind === 'slider') && this.play),
      this.told, this.sheet);
    signal.addEventListener('abort', () => this.stop());
    this.draw();
  }

  /** The kernel turned the page. */
  follow(): void {
    const at = this.model.get('at');
    if (at.join() !== this.at.join()) {
      this.at = [...at];
      this.draw();
    }
  }

  private turn(place: number, value: number): void {
    this.at[place] = value;
    this.draw();
    this.channel.ask('turn', { at: this.at }).catch(() => undefined); // a page turns without a kernel as well
  }

  private toggle(): void {
    if (this.playing) {
      this.stop();
      return;
    }
    const axes = this.model.get('axes');
    const place = axes.findIndex(({ kind }) => kind === 'slider');
    const last = axes[place]!.labels.length - 1;
    if (this.at[place] === last) this.turn(place, 0);
    setText(this.play, '❚❚ Pause');
    this.playing = setInterval(() => {
      this.turn(place, this.at[place]! + 1);
      if (this.at[place] === last) this.stop();
    }, STEP_MS);
  }

  private stop(): void {
    clearInterval(this.playing);
    this.playing = undefined;
    setText(this.play, '▶ Play');
  }

  private draw(): void {
    const axes = this.model.get('axes');
    let number = 0;
    axes.forEach((axis, place) => {
      number = number * axis.labels.length + this.at[place]!;
      this.controls[place]!.show(this.at[place]!);
    });
    const blocks = this.model.get('pages')[number] ?? [];
    if (blocks.length !== this.shown.length || blocks.some((block, place) => block.kind !== this.shown[place]!.kind)) {
      this.shown = blocks.map((block) => ({ kind: block.kind, ...PAINTERS[block.kind]() }));
      fill(this.sheet, ...this.shown.map(({ root }) => root));
    }
    blocks.forEach((block, place) => this.shown[place]!.update(block));
    setText(this.told, axes.map((axis, place) => `${axis.name} ${axis.labels[this.at[place]!]}`).join(', '));
  }
}

/** A slider for figures, buttons for words. */
function control(axis: Axis, turned: (value: number) => void): { root: HTMLElement; show(place: number): void } {
  if (axis.kind === 'slider') {
    const now = h('output', { class: 'fb-now' });
    const input = h('input', {
      type: 'range', min: 0, max: axis.labels.length - 1, step: 1, 'aria-label': axis.name,
      oninput: () => turned(Number(input.value)),
    });
    return {
      root: h('label', { class: 'fb-axis' }, h('span', { class: 'fb-name' }, axis.name), input, now),
      show: (place) => {
        input.value = String(place);
        input.setAttribute('aria-valuetext', axis.labels[place]!);
        setText(now, axis.labels[place]!);
      },
    };
  }
  const buttons = axis.labels.map((label, place) => h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => turned(place) }, label));
  return {
    root: h('div', { class: 'fb-axis', role: 'group', 'aria-label': axis.name }, h('span', { class: 'fb-name' }, axis.name), h('span', { class: 'fb-choices' }, ...buttons)),
    show: (place) => buttons.forEach((button, one) => button.setAttribute('aria-pressed', String(one === place))),
  };
}

type Painter = () => { root: HTMLElement; update(block: Block): void };

const PAINTERS: Record<Block['kind'], Painter> = {
  said: () => {
    const label = h('span', { class: 'fb-label' });
    const note = h('span', { class: 'ft-quietly' });
    const text = h('div', { class: 'fb-said ft-text' });
    return {
      root: h('div', { class: 'fb-block fb-half' }, h('div', { class: 'fb-head' }, label, note), text),
      update: (block) => {
        const { label: name, note: about, text: words } = block as Said;
        setText(label, name);
        setText(note, about);
        setText(text, words);
      },
    };
  },
  bars: () => {
    const title = h('div', { class: 'fb-head fb-label' });
    const list = h('dl', { class: 'fb-bars' });
    let names = '';
    let rows: { bar: HTMLElement; value: HTMLElement }[] = [];
    return {
      root: h('div', { class: 'fb-block fb-half' }, title, list),
      update: (block) => {
        const { rows: given, low, high, unit, title: name } = block as Bars;
        setText(title, name);
        const key = given.map(([one]) => one).join('\n');
        if (key !== names) { // else only lengths change, which the eye can follow
          names = key;
          rows = given.map(() => ({ bar: h('span', { class: 'fb-bar' }), value: h('span', { class: 'fb-figure' }) }));
          fill(list, ...given.flatMap(([one], place) => [h('dt', {}, one), h('dd', {}, h('span', { class: 'fb-track' }, rows[place]!.bar), rows[place]!.value)]));
        }
        given.forEach(([, value], place) => {
          const share = value === null ? 0 : Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
          rows[place]!.bar.style.width = `${share * 100}%`;
          setText(rows[place]!.value, value === null ? '–' : `${brief(value)} ${unit}`.trim());
        });
      },
    };
  },
  words: () => {
    const title = h('span', { class: 'fb-label' });
    const legend = h('span', { class: 'fb-legend' });
    const body = h('div', { class: 'fb-words' });
    return {
      root: h('div', { class: 'fb-block' }, h('div', { class: 'fb-head' }, title, legend), body),
      update: (block) => {
        const { title: name, words, plus, minus } = block as Words;
        setText(title, name);
        fill(legend,
          plus && h('span', { class: 'fb-key fb-plus' }, plus),
          minus && h('span', { class: 'fb-key fb-minus' }, minus));
        fill(body, ...words.map(({ text, weight, about }) => h('span', {
          class: `fb-word ${weight > 0 ? 'fb-plus' : weight < 0 ? 'fb-minus' : ''}`, style: `--weight:${Math.min(1, Math.abs(weight))}`, title: about || null,
        }, text.replaceAll('\n', '↵') || '∅')));
      },
    };
  },
  cells: () => {
    const title = h('div', { class: 'fb-head fb-label' });
    const table = h('div', { class: 'fb-scroll', tabindex: '0', role: 'group' });
    return {
      root: h('div', { class: 'fb-block' }, title, table),
      update: (block) => {
        const { title: name, head, rows } = block as Cells;
        setText(title, name);
        table.setAttribute('aria-label', name);
        fill(table, h('table', {},
          h('thead', {}, h('tr', {}, ...head.map((one) => h('th', { scope: 'col' }, one)))),
          h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, cell === null ? '–' : typeof cell === 'number' ? brief(cell) : cell)))))));
      },
    };
  },
  curves: () => {
    const title = h('div', { class: 'fb-head fb-label' });
    const place = h('div', { class: 'fb-plot' });
    return {
      root: h('div', { class: 'fb-block fb-half' }, title, place),
      update: (block) => {
        const { title: name, lines, x, y, here } = block as Curves;
        setText(title, name);
        fill(place, plot(name, lines, x, y, here));
      },
    };
  },
  heat: () => {
    const title = h('span', { class: 'fb-label' });
    const about = h('span', { class: 'ft-quietly' });
    const canvas = h('canvas', { class: 'fb-heat', role: 'img' });
    return {
      root: h('div', { class: 'fb-block fb-half' }, h('div', { class: 'fb-head' }, title, about), canvas),
      update: (block) => {
        const { title: name, values, most, about: said } = block as Heat;
        setText(title, name);
        const largest = values.reduce((found, row) => row.reduce((one, value) => Math.max(one, Math.abs(value)), found), 0);
        setText(about, `${values.length} × ${values[0]?.length ?? 0}, largest ${brief(largest)}${said ? `. ${said}` : ''}`);
        canvas.setAttribute('aria-label', `${name}: ${about.textContent}`);
        paint(canvas, values, most || largest || 1);
      },
    };
  },
};

/** One pixel a value, enlarged by CSS: blue below zero, orange above, the paper's middle grey at zero. */
function paint(canvas: HTMLCanvasElement, values: number[][], most: number): void {
  canvas.width = values[0]?.length ?? 1;
  canvas.height = values.length || 1;
  canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  const pen = canvas.getContext('2d');
  if (!pen) return;
  const picture = pen.createImageData(canvas.width, canvas.height);
  const zero = [236, 236, 236];
  values.forEach((row, y) => row.forEach((value, x) => {
    const full = value > 0 ? [190, 78, 0] : [0, 92, 158];
    const share = Math.sqrt(Math.min(1, Math.abs(value) / most)); // small values are what changes first
    zero.forEach((base, channel) => {
      picture.data[(y * canvas.width + x) * 4 + channel] = base + share * (full[channel]! - base);
    });
    picture.data[(y * canvas.width + x) * 4 + 3] = 255;
  }));
  pen.putImageData(picture, 0, 0);
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const book = new Book(model, channel, signal);
    el.append(book.root);
    ownKeys(book.root, () => false, signal);
    observe(model, ['at'], () => book.follow(), signal);
  },
};
