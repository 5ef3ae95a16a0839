/** The numbers behind a chart: packed traits in, aligned columns out. */

/** One entry of the `series` trait: what a stretch of the packed `steps` and `values` is. */
export interface SeriesInfo {
  name: string;
  label: string;
  panel: string;
  unit: string;
  kind: 'line' | 'points';
  length: number;
}

/** A series unpacked; null is a figure that was not a number. */
export interface Series extends SeriesInfo {
  steps: number[];
  figures: (number | null)[];
}

/** Columns on one axis of steps: undefined = this series has nothing there, null = a gap. */
export interface Table {
  steps: number[];
  columns: (number | null | undefined)[][];
}

/** Dashes by position, as in ftlab/picture.py, so that no line is told by its colour alone. */
export const DASHES: number[][] = [[], [9, 5], [2, 4], [10, 4, 2, 4], [14, 5], [5, 5]];

/** The dashes of the line at a place; where the six colours begin anew, another dash goes with each. */
export function dash(place: number): number[] {
  return DASHES[(place + 2 * Math.floor(place / DASHES.length)) % DASHES.length] ?? [];
}

/** int32 and float32, little-endian, series after series; a length that does not fit ends the unpacking. */
export function unpack(infos: SeriesInfo[], steps: DataView, values: DataView): Series[] {
  const have = Math.min(steps.byteLength, values.byteLength) / 4;
  let at = 0;
  const out: Series[] = [];
  for (const info of infos) {
    if (at + info.length > have) break;
    const series: Series = { ...info, steps: [], figures: [] };
    for (const end = at + info.length; at < end; at++) {
      const value = values.getFloat32(at * 4, true);
      series.steps.push(steps.getInt32(at * 4, true));
      series.figures.push(Number.isFinite(value) ? value : null);
    }
    out.push(series);
  }
  return out;
}

/**
 * Exponential moving average with the start's bias taken out (as in Adam): the first value is itself.
 *
 * weight 0 (none) to below 1; a gap stays a gap and does not count.
 */
export function smooth(figures: (number | null)[], weight: number): (number | null)[] {
  let mean = 0;
  let share = 0;
  return figures.map((figure) => {
    if (figure === null) return null;
    mean = weight * mean + (1 - weight) * figure;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

/** All series on the union of their steps. */
export function align(all: { steps: number[]; figures: (number | null)[] }[]): Table {
  const steps = [...new Set(all.flatMap((one) => one.steps))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, at) => [step, at]));
  const columns = all.map((one) => {
    const column: (number | null | undefined)[] = new Array(steps.length).fill(undefined);
    one.steps.forEach((step, at) => {
      column[place.get(step)!] = one.figures[at];
    });
    return column;
  });
  return { steps, columns };
}

/** A logarithm has no zero: what cannot be drawn on a logarithmic axis is left out, not bent to a floor. */
export function positive(columns: Table['columns']): Table['columns'] {
  return columns.map((column) => column.map((v) => (typeof v === 'number' && v <= 0 ? undefined : v)));
}

/** The steps at which a series has no number, for the mark on the axis. */
export function gaps(series: { steps: number[]; figures: (number | null)[] }): number[] {
  return series.steps.filter((_, at) => series.figures[at] === null);
}

/** Four significant digits, no trailing noise; 0.0003 as 3.000e-4. */
export function figure(value: number | null | undefined, unit = ''): string {
  if (value === undefined) return '–';
  if (value === null) return 'not a number';
  const size = Math.abs(value);
  let text: string;
  if (size >= 10000) text = Math.round(value).toLocaleString('en');
  else if (size >= 1000) text = value.toFixed(0);
  else if (size === 0) text = '0';
  else if (size < 0.001) text = value.toExponential(2);
  else text = value.toPrecision(4);
  return unit ? `${text} ${unit}` : text;
}

/** For a person who compares at a glance: counts as they are, else three significant digits. */
export function brief(value: number | null): string {
  if (value === null) return '–';
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const size = Math.abs(value);
  return size >= 1000 ? Math.round(value).toLocaleString('en') : size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** 48 s, 3 min 20 s, 2 h 05 min. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const pad = (n: number) => String(n).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

/** The panels in the order in which their first series come. */
export function panels(all: Series[]): Map<string, Series[]> {
  const out = new Map<string, Series[]>();
  for (const series of all) out.set(series.panel, [...(out.get(series.panel) ?? []), series]);
  return out;
}

/** Places of figures with no neighbour to be joined to: as a line they would not be seen. */
export function lonely(column: (number | null | undefined)[]): number[] {
  const known = column.flatMap((value, at) => (value === undefined ? [] : [at]));
  return known.filter((at, n) => column[at] !== null && [n - 1, n + 1].every((m) => known[m] === undefined || column[known[m]!] === null));
}

/** The last figure of a column at or before a place, and where it is. */
export function upTo(column: (number | null | undefined)[], place: number): { at: number; value: number | null } | null {
  for (let at = Math.min(place, column.length - 1); at >= 0; at--) if (column[at] !== undefined) return { at, value: column[at] ?? null };
  return null;
}
