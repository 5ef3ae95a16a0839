/** How long something was really before somebody's eyes: the time of a hidden tab does not count. */
export class Stopwatch {
  private spent = 0;
  private since: number | null = null;

  constructor(signal: AbortSignal, private now: () => number = () => performance.now()) {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.pause() : this.resume()), { signal });
  }

  restart(): void {
    this.spent = 0;
    this.since = document.hidden ? null : this.now();
  }

  /** Whole milliseconds. */
  read(): number {
    return Math.round(this.spent + (this.since === null ? 0 : this.now() - this.since));
  }

  private pause(): void {
    if (this.since !== null) this.spent += this.now() - this.since;
    this.since = null;
  }

  private resume(): void {
    this.since ??= this.now();
  }
}
