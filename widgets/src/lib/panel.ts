/** One chart of a run, or of several: its curves, their names, and the figures under the pointer. */
import uPlot from 'uplot';
import { align, dash, figure, gaps, lonely, positive, smooth, upTo, type Series, type Table } from './chart';
import { fill, h } from './dom';
import { colour } from './theme';

const COLOURS = 6; // of --rv-0 and so on; beyond that the dashes tell lines of one colour apart

/** What the curves run along. */
export interface Axis { label: string; whole: boolean; word(value: number): string }

export const STEPS: Axis = { label: 'step', whole: true, word: (value) => `step ${value.toLocaleString('en')}` };

export interface Look { smoothing: number; logarithmic: boolean; sync: string; axis: Axis }

/** One chart with its names and the figures under the pointer. */
export class Panel {
  readonly root: HTMLElement;
  private readonly legend = h('div', { class: 'rv-legend' });
  private readonly stage = h('div', { class: 'rv-stage', role: 'img' });
  private plot: uPlot | null = null;
  private made = ''; // what `plot` was made for; anything else needs a new one
  private series: Series[] = [];
  private table: Table = { steps: [], columns: [] };
  private look: Look = { smoothing: 0, logarithmic: false, sync: '', axis: STEPS };

  constructor(readonly name: string, signal: AbortSignal, private height = 180) {
    this.root = h('figure', { class: 'rv-panel', 'data-panel': name }, h('figcaption', { class: 'rv-caption' }, h('span', { class: 'rv-title' }, name), this.legend), this.stage);
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.stage);
    signal.addEventListener('abort', () => {
      sizes.disconnect();
      this.drop();
    });
  }

  draw(series: Series[], look: Look): void {
    this.series = series;
    this.look = look;
    // Smoothed columns follow the raw ones, so that column n belongs to series n in any case.
    const smoothed = look.smoothing > 0 ? series.filter(isLine).map((one) => ({ steps: one.steps, figures: smooth(one.figures, look.smoothing) })) : [];
    this.table = align([...series, ...smoothed]);
    const made = JSON.stringify([series.map(({ name, kind }) => [name, kind]), look.logarithmic, look.smoothing > 0, look.axis.label]);
    if (made !== this.made) this.drop();
    this.made = made;
    const columns = look.logarithmic ? positive(this.table.columns) : this.table.columns;
    if (this.plot) this.plot.setData([this.table.steps, ...columns] as uPlot.AlignedData);
    else this.make(columns);
    this.read(null);
    this.stage.setAttribute('aria-label', this.told());
  }

  /** The theme changed: colours are read anew. */
  repaint(): void {
    this.drop();
    this.draw(this.series, this.look);
  }

  drop(): void {
    this.plot?.destroy();
    this.plot = null;
  }

  private make(columns: Table['columns']): void {
    const width = this.stage.clientWidth;
    if (!width) return; // not laid out yet; the observer calls again
    this.plot = new uPlot(this.options(width), [this.table.steps, ...columns] as uPlot.AlignedData, this.stage);
  }

  private resize(): void {
    const width = this.stage.clientWidth;
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: this.height });
    else this.draw(this.series, this.look);
  }

  private options(width: number): uPlot.Options {
    const [ink, line] = [colour(this.stage, '--ft-quiet'), colour(this.stage, '--ft-line')];
    const axis = { stroke: ink, font: '12px system-ui, sans-serif', ticks: { stroke: line, width: 1 }, grid: { stroke: line, width: 1 } };
    const lines = this.series.filter(isLine);
    return {
      width,
      height: this.height,
      legend: { show: false },
      cursor: { sync: { key: this.look.sync }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false }, y: { distr: this.look.logarithmic ? 3 : 1 } },
      axes: [
        { ...axis, size: 30, label: this.look.axis.label, labelSize: 18, labelFont: '12px system-ui, sans-serif', ...(this.look.axis.whole && { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 100_000_000, 1_000_000_000] }) },
        { ...axis, size: 62, values: (_plot, ticks) => ticks.map((tick) => (tick === null ? '' : Math.abs(tick) >= 1e5 || (tick !== 0 && Math.abs(tick) < 1e-3) ? tick.toExponential(0) : String(Number(tick.toPrecision(6))))) },
      ],
      series: [
        {},
        ...this.series.map((one, place) => this.drawn(one, place, this.look.smoothing > 0 && isLine(one))),
        ...(this.look.smoothing > 0 ? lines.map((one) => this.drawn(one, this.series.indexOf(one), false)) : []),
      ],
      hooks: { draw: [(plot) => this.markGaps(plot)], setCursor: [(plot) => this.read(plot.cursor.idx ?? null)] },
    };
  }

  private drawn(one: Series, place: number, faint: boolean): uPlot.Series {
    const stroke = colour(this.stage, `--rv-${place % COLOURS}`);
    if (!isLine(one)) return { label: one.label, stroke, width: 0, paths: () => null, points: { show: true, size: 9, width: 2.5, stroke, fill: colour(this.stage, '--ft-paper') } };
    return {
      label: one.label,
      stroke,
      width: faint ? 1 : 2,
      alpha: faint ? 0.35 : 1,
      dash: dash(place),
      points: { show: true, size: 6, fill: stroke, filter: (plot, column) => lonely((plot.data[column] ?? []) as Table['columns'][number]) },
    };
  }

  /** A cross on the axis wherever a figure was not a number. */
  private markGaps(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    const y = bbox.top + bbox.height - size - 2 * devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = colour(this.stage, '--ft-bad');
    ctx.lineWidth = 2.5 * devicePixelRatio;
    ctx.beginPath();
    for (const step of new Set(this.series.flatMap(gaps))) {
      const x = plot.valToPos(step, 'x', true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.moveTo(x - size, y - size);
      ctx.lineTo(x + size, y + size);
      ctx.moveTo(x - size, y + size);
      ctx.lineTo(x + size, y - size);
    }
    ctx.stroke();
    ctx.restore();
  }

  /** The names, each with its figure at a place of the axis; null: the latest. */
  private read(place: number | null): void {
    const at = place ?? this.table.steps.length - 1;
    const step = this.table.steps[at];
    fill(this.legend,
      ...this.series.map((one, n) => {
        const found = upTo(this.table.columns[n] ?? [], at);
        const late = found && found.at !== at ? ` (${this.look.axis.word(this.table.steps[found.at] ?? 0)})` : '';
        return h('span', { class: 'rv-key' }, swatch(one, n), `${one.label} `, h('b', {}, found ? figure(found.value, one.unit) : '–'), late && place !== null && h('span', { class: 'ft-quietly' }, late));
      }),
      step !== undefined && h('span', { class: 'ft-quietly rv-at' }, `${place === null ? 'latest, ' : ''}${this.look.axis.word(step)}`));
  }

  private told(): string {
    return `${this.name}: ${this.series.map((one) => {
      const last = one.figures.length - 1;
      return last < 0 ? one.label : `${one.label} from ${figure(one.figures[0], one.unit)} at ${this.look.axis.word(one.steps[0] ?? 0)} to ${figure(one.figures[last], one.unit)} at ${this.look.axis.word(one.steps[last] ?? 0)}`;
    }).join('; ')}`;
  }
}

const isLine = (one: Series): boolean => one.kind === 'line';

/** A short stretch of the line, beside its name. */
export function swatch(one: Series, place: number): HTMLElement {
  const [stroke = 0] = dash(place);
  const look = stroke === 0 ? 'solid' : stroke < 5 ? 'dotted' : 'dashed';
  return h('span', { class: `rv-swatch rv-${isLine(one) ? look : 'ring'}`, style: `--rv-own: var(--rv-${place % COLOURS})`, 'aria-hidden': 'true' });
}
