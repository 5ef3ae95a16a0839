/** What a person is told about saving, and about the kernel. */
import type { Link } from './channel';

export interface Told { tone: '' | 'good' | 'warn' | 'bad'; text: string }

const AMBER_MS = 5000;
const RED_MS = 15_000;

/** Of a choice without a receipt: how long ago it was sent, and why it was not taken, "" where that is not known. */
export function waiting(ms: number, reason: string): Told {
  const tone = ms >= RED_MS || reason ? 'bad' : ms >= AMBER_MS ? 'warn' : '';
  const text = reason ? `Not saved, will retry: ${reason}` : ms >= RED_MS ? 'Not saved, will retry' : ms >= AMBER_MS ? 'Still saving…' : 'Saving…';
  return { tone, text };
}

/** What stands above everything; "" where all is well. `kept`: choices that only the browser has. */
export function banner(link: Link, kept: number, error: string, durable: boolean): string {
  const lost = kept ? `${kept === 1 ? 'One choice is' : `${kept} choices are`} kept in this browser and will be sent.` : 'Nothing is lost.';
  if (link === 'gone') return `Disconnected: the kernel of this cell has ended. Run the cell again to go on. ${lost}`;
  if (link === 'silent') return `Disconnected: the kernel does not answer; it is busy or gone. ${lost}`;
  return error || (durable ? '' : 'This browser stores nothing for this page: a choice without a tick would be lost on reloading.');
}
