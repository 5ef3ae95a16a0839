/** How a run stands, in a sign, words and a tone. */
export type Status = 'created' | 'queued' | 'starting' | 'running' | 'stopping' | 'finished' | 'stopped' | 'diverged' | 'failed';

/** Sign, words, and the class that colours them (`rv-…`, "" for none). */
export const CHIPS: Record<Status, [string, string, string]> = {
  created: ['○', 'not started', ''],
  queued: ['◷', 'queued', ''],
  starting: ['◌', 'starting…', 'warn'],
  running: ['●', 'running', 'accent'],
  stopping: ['◼', 'stopping…', 'warn'],
  finished: ['✓', 'finished', 'good'],
  stopped: ['◼', 'stopped', 'warn'],
  diverged: ['⚠', 'diverged', 'bad'],
  failed: ['✗', 'failed', 'bad'],
};

export const ALIVE = new Set<Status>(['starting', 'running', 'stopping']);
