/** Events that no receipt has come for yet, kept by the browser: they outlive the page, the tab and the kernel. */
import { CommandError, NoAnswer, type Channel, type Reply } from './channel';

export interface Posted { event_id: string; [name: string]: unknown }
interface Entry { order: number; event: Posted }

/** One entry of the browser's storage per event, so that two tabs never overwrite each other's. */
export class Outbox {
  private memory = new Map<string, Entry>();
  /** False where the browser refuses to store: then nothing outlives the page, and a person should know. */
  durable = true;

  constructor(private name: string, private storage: Storage | null = browserStorage()) {
    if (!storage) this.durable = false;
  }

  put(event: Posted): void {
    const entries = this.entries();
    const order = Math.max(Date.now(), (entries.at(-1)?.order ?? 0) + 1); // a clock set back must not reorder
    const entry = { order, event };
    this.memory.set(event.event_id, entry);
    try {
      this.storage?.setItem(this.key(event.event_id), JSON.stringify(entry));
    } catch { // storage full or forbidden
      this.durable = false;
    }
  }

  remove(event_id: string): void {
    this.memory.delete(event_id);
    this.storage?.removeItem(this.key(event_id));
  }

  /** Oldest first; what another tab put there is included. */
  entries(): Entry[] {
    const found = new Map(this.memory);
    for (let index = 0; this.storage && index < this.storage.length; index += 1) {
      const key = this.storage.key(index);
      if (!key?.startsWith(this.key(''))) continue;
      const entry = read(this.storage.getItem(key));
      if (entry) found.set(entry.event.event_id, entry);
    }
    return [...found.values()].sort((a, b) => a.order - b.order);
  }

  private key(event_id: string): string {
    return `ftlab:outbox:${this.name}:${event_id}`;
  }
}

/** The browser's own storage; null where a page has none. */
export function browserStorage(): Storage | null {
  try {
    return localStorage;
  } catch { // a page without an origin has none
    return null;
  }
}

function read(text: string | null): Entry | null {
  try {
    const entry = JSON.parse(text ?? '') as Entry;
    return typeof entry.event.event_id === 'string' && typeof entry.order === 'number' ? entry : null;
  } catch { // not ours, though under our name
    return null;
  }
}

export interface Reports {
  /** Committed. */
  receipt(event: Posted, reply: Reply): void;
  /** Python will never take it: it has been dropped from the outbox. */
  refused(event: Posted, reason: string): void;
  /** Not committed as far as we know; it stays and is sent again. `reason` is empty while nothing but silence is known. */
  pending(event: Posted, reason: string): void;
}

/** Sends the outbox in order, one event at a time, until it is empty; safe to call at any moment. */
export class Postman {
  private busy = false;

  constructor(private outbox: Outbox, private channel: Channel, private command: string, private reports: Reports, private signal: AbortSignal) {
    channel.watch((link) => link === 'live' && void this.deliver());
    const retry = setInterval(() => void this.deliver(), 5000);
    signal.addEventListener('abort', () => clearInterval(retry));
  }

  post(event: Posted): void {
    this.outbox.put(event);
    void this.deliver();
  }

  async deliver(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let entry = this.outbox.entries()[0]; entry && !this.signal.aborted; entry = this.outbox.entries()[0]) {
        if (!(await this.send(entry.event))) break;
      }
    } finally {
      this.busy = false;
    }
  }

  private async send(event: Posted): Promise<boolean> {
    try {
      const reply = await this.channel.ask(this.command, { event });
      this.outbox.remove(event.event_id);
      if (typeof reply.refused === 'string') this.reports.refused(event, reply.refused);
      else this.reports.receipt(event, reply);
      return true;
    } catch (error) {
      if (!(error instanceof CommandError || error instanceof NoAnswer)) throw error;
      this.reports.pending(event, error instanceof CommandError ? error.message : '');
      return false;
    }
  }
}
