/** Where two texts differ, word by word. */

export interface Piece {
  kind: 'same' | 'added' | 'removed';
  text: string;
}

/** Beyond this many words a side the table of the longest common subsequence costs more than it tells. */
export const MOST_WORDS = 1500;

/** Words, and each run of spaces or mark of punctuation by itself; joined they are the text again. */
export function words(text: string): string[] {
  return text.match(/\s+|[\p{L}\p{N}_]+(?:['’][\p{L}\p{N}]+)*|[^\s\p{L}\p{N}_]/gu) ?? [];
}

/**
 * The pieces that turn `from` into `to`, in reading order, what is removed before what is added.
 *
 * 'same' and 'added' joined are `to`; 'same' and 'removed' joined are `from`. Words beyond MOST_WORDS are
 * compared as one block. A space alone between two changed words counts as changed, so that a rewritten
 * phrase is one mark and not confetti.
 */
export function diff(from: string, to: string): Piece[] {
  const a = words(from);
  const b = words(to);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const middle = between(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return joined([
    { kind: 'same', text: a.slice(0, head).join('') },
    ...middle,
    { kind: 'same', text: tail ? a.slice(a.length - tail).join('') : '' },
  ]);
}

/** Share of the words (not spaces) of both texts that they have in common, 0 to 1; two empty texts: 1. */
export function likeness(pieces: Piece[]): number {
  let same = 0;
  let all = 0;
  for (const { kind, text } of pieces) {
    const count = words(text).filter((word) => word.trim()).length;
    if (kind === 'same') same += 2 * count;
    all += kind === 'same' ? 2 * count : count;
  }
  return all ? same / all : 1;
}

function between(a: string[], b: string[]): Piece[] {
  if (a.length > MOST_WORDS || b.length > MOST_WORDS)
    return [
      { kind: 'removed', text: a.join('') },
      { kind: 'added', text: b.join('') },
    ];
  const width = b.length + 1;
  // length[i * width + j]: the longest common subsequence of a from i on and b from j on
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      length[i * width + j] =
        a[i] === b[j]
          ? length[(i + 1) * width + j + 1]! + 1
          : Math.max(length[(i + 1) * width + j]!, length[i * width + j + 1]!);
  const pieces: Piece[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      pieces.push({ kind: 'same', text: a[i]! });
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && length[(i + 1) * width + j]! >= length[i * width + j + 1]!))
      pieces.push({ kind: 'removed', text: a[i++]! });
    else pieces.push({ kind: 'added', text: b[j++]! });
  }
  return pieces;
}

/** Neighbours of one kind joined, lone spaces between changes made part of them, removed put before added. */
function joined(pieces: Piece[]): Piece[] {
  const out: Piece[] = [];
  let removed = '';
  let added = '';
  const flush = () => {
    if (removed) out.push({ kind: 'removed', text: removed });
    if (added) out.push({ kind: 'added', text: added });
    removed = added = '';
  };
  const full = pieces.filter((piece) => piece.text);
  full.forEach((piece, at) => {
    const next = full[at + 1];
    const bridge = piece.kind === 'same' && !piece.text.trim() && (removed || added) && next && next.kind !== 'same';
    if (bridge) {
      removed += piece.text;
      added += piece.text;
    } else if (piece.kind === 'removed') removed += piece.text;
    else if (piece.kind === 'added') added += piece.text;
    else {
      flush();
      const last = out[out.length - 1];
      if (last?.kind === 'same') last.text += piece.text;
      else out.push({ ...piece });
    }
  });
  flush();
  return out;
}
