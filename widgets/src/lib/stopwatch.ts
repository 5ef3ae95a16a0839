/** How long something was really before somebody's eyes: a hidden tab and a pause do not count. */
export class Stopwatch {
  private spent = 0;
  private since: number | null = null;
  private held = false;

  constructor(signal: AbortSignal, private now: () => number = () => performance.now()) {
    document.addEventListener('visibilitychange', () => this.turn(), { signal });
  }

  restart(): void {
    this.spent = 0;
    this.since = null;
    this.turn();
  }

  /** Stands still until `release`. */
  hold(): void {
    this.held = true;
    this.turn();
  }

  release(): void {
    this.held = false;
    this.turn();
  }

  /** Whole milliseconds. */
  read(): number {
    return Math.round(this.spent + (this.since === null ? 0 : this.now() - this.since));
  }

  private turn(): void {
    const goes = !this.held && !document.hidden;
    if (goes) this.since ??= this.now();
    else if (this.since !== null) {
      this.spent += this.now() - this.since;
      this.since = null;
    }
  }
}
