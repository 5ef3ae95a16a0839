/** Above the task: what is asked, how far it is, and how fast it goes. */
import { minutes, pace } from './clock';
import { fill, h, setText } from './dom';

export interface Progress { answered: number; skipped: number; flagged: number; total: number }

export class Head {
  readonly root: HTMLElement;
  /** Says that the instructions are others than this browser last read. */
  readonly changed = h('div', { class: 'ft-banner ft-warn rate-changed', role: 'status', hidden: true });
  private readonly instructions = h('div', { class: 'rate-instructions' });
  private readonly version = h('span', { class: 'rate-version ft-quietly' });
  private readonly bar = h('progress', { 'aria-label': 'Progress' });
  private readonly counts = h('span', { class: 'ft-quietly' });
  private readonly timer = h('span', { class: 'rate-timer ft-quietly', role: 'timer', 'aria-label': 'Time on this one', title: 'Time on this one; a hidden page and a pause do not count' });
  private readonly pace = h('span', { class: 'rate-pace ft-quietly', title: 'Of this sitting' });
  private read = 0; // the version that somebody has said to have read, where the browser stores nothing

  /** `done` is called once changed instructions have been read. */
  constructor(private desk: string, private storage: Storage | null, private done: () => void) {
    this.root = h('div', { class: 'rate-head' }, h('div', { class: 'rate-told' }, this.instructions, this.version),
      h('div', { class: 'rate-meter' }, h('div', { class: 'rate-progress' }, this.bar, this.counts), h('div', { class: 'rate-clock' }, this.timer, this.pace)));
  }

  /** `looking`: at which task somebody looks back, in words; "" where nobody does. */
  draw(instructions: string, version: number, { answered, total, skipped, flagged }: Progress, looking: string): void {
    setText(this.instructions, instructions);
    this.bar.max = Math.max(1, total);
    this.bar.value = answered;
    this.bar.hidden = !total; // a dialogue makes its tasks as it goes
    const aside = [skipped && `${skipped} skipped`, flagged && `${flagged} flagged`].filter(Boolean).join(', ');
    setText(this.counts, total ? `${answered} of ${total} answered${aside && ` (${aside})`}${looking && `, ${looking}`}` : 'Nothing to answer yet');
    setText(this.version, version > 1 ? `Instructions, version ${version}` : '');
    this.compare(instructions, version);
  }

  /** Milliseconds on this task (null: there is none), how many were saved in this sitting, and its milliseconds. */
  tick(spent: number | null, saved: number, sitting: number): void {
    setText(this.timer, spent === null ? '\u00a0' : minutes(spent)); // never empty: the line would lose its baseline, and the page would move
    setText(this.pace, pace(saved, sitting));
  }

  private compare(instructions: string, version: number): void {
    const stored = this.storage?.getItem(this.key());
    const read = Math.max(this.read, Number(stored ?? version));
    if (version <= read) {
      this.changed.hidden = true;
      if (version > 0 && stored === null) this.note(version);
      return;
    }
    if (!this.changed.hidden) return;
    this.changed.hidden = false;
    fill(this.changed, h('span', {}, h('strong', {}, 'The instructions have changed. '), `Please read version ${version} before you go on: “${instructions}”`),
      h('button', { type: 'button', onclick: () => {
        this.note(version);
        this.changed.hidden = true;
        this.done();
      } }, 'I have read them'));
  }

  private note(version: number): void {
    this.read = version;
    try {
      this.storage?.setItem(this.key(), String(version));
    } catch { // storage full: the next page says it again
      this.storage?.removeItem(this.key());
    }
  }

  private key(): string {
    return `ftlab:read:${this.desk}`;
  }
}
