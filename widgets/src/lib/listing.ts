/** Rows of the table of runs: found, ordered and put into words. */
import { duration, figure } from './chart';
import type { Status } from './standing';

/** One run; figures that are not known are left out, a loss that was not a number is null. */
export interface Row {
  name: string;
  created: number;
  method?: string;
  model?: string;
  data?: string;
  status: Status;
  reason: string;
  position: number | null;
  step?: number;
  total?: number;
  loss?: number | null;
  eval_loss?: number | null;
  spark?: (number | null)[];
  seconds?: number;
  memory?: number;
  eta?: number;
}

export type Column = 'created' | 'name' | 'status' | 'method' | 'model' | 'data' | 'progress' | 'loss' | 'eval_loss' | 'seconds' | 'memory';

const LIFE: Status[] = ['running', 'starting', 'stopping', 'queued', 'created', 'stopped', 'failed', 'diverged', 'finished'];

/** The rows with what moves in those that train. */
export function merged(rows: Row[], live: Record<string, Partial<Row>>): Row[] {
  return rows.map((row) => (live[row.name] ? { ...row, ...live[row.name] } : row));
}

/** Those in which every word occurs somewhere: name, status, method, model or data. */
export function matching(rows: Row[], text: string): Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    const all = [row.name, row.status, row.method, row.model, row.data].join(' ').toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/** In the order of a column; what is not known comes last, whichever way; equals stay as they were. */
export function ordered(rows: Row[], column: Column, rising: boolean): Row[] {
  const sign = rising ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [left, right] = [rank(a, column), rank(b, column)];
    if (left === null || right === null) return (left === null ? 1 : 0) - (right === null ? 1 : 0);
    return sign * (typeof left === 'string' ? left.localeCompare(String(right), 'en', { numeric: true }) : left - Number(right));
  });
}

function rank(row: Row, column: Column): string | number | null {
  if (column === 'status') return LIFE.indexOf(row.status) + (row.position ?? 0) / 1e6;
  if (column === 'progress') return row.step === undefined ? null : row.step / Math.max(1, row.total ?? row.step);
  return row[column] ?? null;
}

/** The words of one cell; "" for what is not known. */
export function words(row: Row, column: Column): string {
  switch (column) {
    case 'progress':
      return row.step === undefined ? '' : `${row.step.toLocaleString('en')}${row.total ? ` of ${row.total.toLocaleString('en')}` : ''}`;
    case 'loss':
    case 'eval_loss':
      return row[column] === undefined ? '' : figure(row[column]);
    case 'seconds':
      return row.seconds === undefined ? '' : duration(row.seconds);
    case 'memory':
      return row.memory === undefined ? '' : `${Math.round(row.memory).toLocaleString('en')} MiB`;
    case 'created':
      return new Date(row.created * 1000).toLocaleString('en');
    default:
      return row[column] ?? '';
  }
}

/** Points of a small curve in a box, as SVG wants them; a figure that was not a number breaks the line. */
export function spark(figures: (number | null)[], width: number, height: number): string[] {
  const known = figures.filter((one): one is number => one !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const lines: string[][] = [[]];
  figures.forEach((one, at) => {
    if (one === null) lines.push([]);
    else lines.at(-1)?.push(`${((at / Math.max(1, figures.length - 1)) * (width - 2) + 1).toFixed(1)},${(height - 1 - ((one - low) / (high - low || 1)) * (height - 2)).toFixed(1)}`);
  });
  return lines.filter((line) => line.length > 1).map((line) => line.join(' '));
}
