/** Values by dotted path: "method.rank" of { method: { rank: 8 } }. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Tree = { [name: string]: Json };

/** The value at the path; undefined where nothing is. */
export function at(tree: Tree, path: string): Json | undefined {
  let found: Json | undefined = tree;
  for (const name of path.split('.')) {
    if (!isTree(found) || !Object.hasOwn(found, name)) return undefined;
    found = found[name];
  }
  return found;
}

export function isTree(value: Json | undefined): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a form would show both alike: 8 and "8" are the same, and so are nothing and an empty list. */
export function alike(one: Json | undefined, other: Json | undefined): boolean {
  return spelled(one) === spelled(other);
}

/** A value as it stands in a field. */
export function spelled(value: Json | undefined): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return figure(value);
  if (typeof value === 'object') return Object.keys(value).length ? JSON.stringify(value) : '';
  return String(value);
}

/** Small numbers as people write step sizes: 5e-5, not 0.00005. */
export function figure(value: number): string {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential().replace('e-0', 'e-') : String(value);
}
