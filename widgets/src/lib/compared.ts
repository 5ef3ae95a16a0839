/** The numbers of several runs over each other. */
import { unpack, type Series } from './chart';

export interface Curve { run: string; kind: 'line' | 'points'; unit: string; length: number }
export interface Metric { name: string; label: string; panel: string; unit: string }
export interface Difference { path: string; values: string[] }
export interface Answers { prompt: { role: string; content: string }[]; runs: Record<string, { step: number; text: string }[]> }

/** Mirrors the traits of ftlab/widgets/runs.py that belong to the comparison. */
export interface Compared {
  selected: string[];
  metric: string;
  metrics: Metric[];
  curves: Curve[];
  steps: DataView;
  values: DataView;
  tokens: DataView;
  seconds: DataView;
  differences: Difference[];
  answers: Answers[];
}

/** The curves along an axis; what has no place on it is left out. */
export function along(compared: Compared, axis: string): Series[] {
  const { curves, metric } = compared;
  const all = unpack(curves.map(({ run, kind, unit, length }) => ({ name: run, label: run, panel: metric, unit, kind, length })), compared.steps, compared.values);
  const clock = axis === 'tokens' ? compared.tokens : axis === 'seconds' ? compared.seconds : null;
  let at = 0;
  return all.map((one) => {
    const places = clock ? one.steps.map((_, n) => clock.getFloat32((at + n) * 4, true)) : one.steps;
    at += one.steps.length;
    const known = places.flatMap((place, n) => (Number.isFinite(place) ? [n] : []));
    const steps = known.map((n) => places[n]!);
    // evaluations are joined here: marks alone of several runs cannot be told apart
    return { ...one, kind: steps.length > 1 ? 'line' : one.kind, steps, figures: known.map((n) => one.figures[n] ?? null) };
  });
}
