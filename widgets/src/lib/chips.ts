/** Tokens as they are drawn: what a chip shows, what a screen reader hears of it, and what its loss weighs. */

/** One row, or one of several that are packed together; `trained` and `template` hold a digit a token. */
export interface Part {
  row: number;
  label: string;
  ids: number[];
  texts: string[];
  trained: string;
  template: string;
  kept: number; // tokens before the cut
  note: string;
  hidden: number; // tokens beyond what is drawn
}

/** Of each token in nats, null where there is none, with what the model would rather have written. */
export interface Losses {
  losses: (number | null)[];
  candidates: [string, number][][];
}

export type Kind = 'learned' | 'context' | 'cut';

/** A loss of so many nats has the full colour. */
export const STRONG = 6;

const MARKS: Record<string, string> = { ' ': '·', '\n': '⏎', '\t': '⇥', '\r': '␍' };
const NAMES: Record<string, string> = { ' ': ' space ', '\n': ' line break ', '\t': ' tab ', '\r': ' carriage return ' };

/** The text with a mark for each white space; ∅ for none at all. */
export function visible(text: string): string {
  return text.replace(/[ \n\t\r]/g, (white) => MARKS[white]!) || '∅';
}

/** The text for the ear: spaces are named only where there is nothing else. */
export function spoken(text: string): string {
  if (!text) return 'nothing';
  const blank = !text.trim();
  return text.replace(blank ? /[ \n\t\r]/g : /[\n\t\r]/g, (white) => NAMES[white]!).replace(/ {2,}/g, ' ').trim();
}

export function kindOf(part: Part, place: number): Kind {
  if (place >= part.kept) return 'cut';
  return part.trained[place] === '1' ? 'learned' : 'context';
}

/** How much of the colour a loss in nats has, in percent. */
export function strength(loss: number): number {
  return Math.round((Math.min(STRONG, Math.max(0, loss)) / STRONG) * 100);
}

/** Sum and mean of what is learned, in nats; null while the losses of a part are missing. */
export function total(parts: Part[], losses: Losses[]): { sum: number; mean: number; count: number } | null {
  if (losses.length !== parts.length || !parts.length) return null;
  let sum = 0;
  let count = 0;
  parts.forEach((part, index) => losses[index]!.losses.forEach((loss, place) => {
    if (loss === null || kindOf(part, place) !== 'learned') return;
    sum += loss;
    count += 1;
  }));
  return { sum, mean: sum / count, count };
}

/** What a screen reader says of a token. */
export function told(part: Part, place: number, losses: Losses | undefined): string {
  const kind = { learned: 'learned', context: 'read, not learned', cut: 'cut off' }[kindOf(part, place)];
  const loss = losses?.losses[place];
  const template = part.template[place] === '1' ? ', written by the template' : '';
  return `token ${place}, ${spoken(part.texts[place]!)}, ${kind}${template}${loss === null || loss === undefined ? '' : `, loss ${loss.toFixed(2)}`}`;
}
