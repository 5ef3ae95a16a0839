/** What the ways of rating have in common: a mode draws its answers and questions, takes keys, and says what was meant. */
import type { Message } from '../text';

export type Choice = 'left' | 'right' | 'tie' | 'both_bad';
export type Scores = Record<string, unknown>;

/** What a batch asks for, as far as a page must know. */
export interface Settings { scale?: 'thumbs' | 'likert' | 'both'; best?: number | null; safety?: boolean; labels?: string[]; flags?: boolean }

export interface Opinion { choice: Choice | null; strength: number | null; scores: Scores | null }

/** What stands already, where somebody has gone back to it. */
export interface Stands extends Opinion { kind: string; comment: string; words: string }

export interface Task {
  assignment_id: string;
  mode: 'pair' | 'single' | 'rank' | 'edit' | 'dialogue';
  position: number;
  prompt: Message[];
  texts: string[];
  unseen: number[]; // characters of each text that the page was not given
  prev_event_id: string | null;
  settings: Settings;
  stands: Stands | null;
}

/** What a mode may ask of the desk that it stands on. */
export interface Desk {
  redraw(): void;
  /** Sends what `say` says, where it says something. */
  commit(): void;
  /** To the live region. */
  announce(text: string): void;
  /** Where text that is being written is kept until its receipt. */
  readonly drafts: Drafts;
}

export interface Drafts { read(assignment: string): string | null; write(assignment: string, text: string): void; drop(assignment: string): void }

export interface Mode {
  /** The answers. */
  readonly sheet: HTMLElement;
  /** The questions. */
  readonly controls: HTMLElement;
  /** The keys and what they do, for the line that is always on the page. */
  readonly help: readonly (readonly [keys: string, words: string])[];
  /** Brings both up to date; `open`: it may be answered now, `plain`: text as written. */
  draw(open: boolean, plain: boolean): void;
  /** Uses a key that is none of a button's; whether it did. */
  key(event: KeyboardEvent): boolean;
  /** One step back, on Esc; whether there was one. */
  back(): boolean;
  /** What would be stored; null while something is missing. */
  say(): Opinion | null;
  /** To where the next key belongs, without moving the page. */
  focus(): void;
  /** Lets go of timers and listeners. */
  close?(): void;
}
