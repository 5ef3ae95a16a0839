/** Commands to the kernel that are always answered, or known not to be. */
import { mint } from './id';
import type { Model } from './model';

/** live: it answers. silent: it has not answered for a while (busy, or gone). gone: it said that it will not. */
export type Link = 'live' | 'silent' | 'gone';
export type Reply = { id: string; type: 'done' | 'error' } & Record<string, unknown>;

/** Python refused or failed; `ours` tells an error written for people from an accident. */
export class CommandError extends Error {
  constructor(readonly kind: string, message: string, readonly ours: boolean) {
    super(message);
  }
}

/** No answer: whether the command was carried out is not known, so it must bear being sent again. */
export class NoAnswer extends Error {}

interface Waiting {
  since: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
  timer: ReturnType<typeof setTimeout>;
}

/** JupyterLab's manager knows its kernel; other pages need not. */
interface Kernel { status?: string; connectionStatus?: string }

export const BEAT_MS = 1000;
export const SILENT_MS = 3000; // with the pause between two questions and one beat, the banner stands within 5 s
const IDLE_HELLO_MS = 10_000; // where the page itself can tell the kernel's state, asking is only a safety net
/**
 * A Jupyter server sends each kernel message as a packet of its own and waits for the first one ("busy") to be
 * acknowledged before it sends the next one, our answer; a browser with nothing to say acknowledges after 40 ms.
 * Saying anything sooner carries the acknowledgement along.
 */
const NUDGE_MS = 12;
const BLIND_HELLO_MS = 1000;
const DEAD = new Set(['dead', 'terminating', 'restarting', 'autorestarting']);

export class Channel {
  link: Link = 'live';
  private waiting = new Map<string, Waiting>();
  private watchers = new Set<(link: Link) => void>();
  private saidHello = 0;
  private answered = 0;
  private hello: string | null = null;
  private kernelState = '';

  constructor(private model: Model<object>, signal: AbortSignal) {
    const receive = (reply: Reply) => this.receive(reply);
    model.on('msg:custom', receive);
    const beat = setInterval(() => this.beat(), BEAT_MS);
    signal.addEventListener('abort', () => {
      model.off('msg:custom', receive);
      clearInterval(beat);
      for (const { timer } of this.waiting.values()) clearTimeout(timer);
      this.waiting.clear();
      this.watchers.clear();
    });
    this.sayHello();
  }

  /** Sends `{id, type, ...body}`; rejects with CommandError, or with NoAnswer after `patience_ms`. */
  ask(type: string, body: Record<string, unknown> = {}, patience_ms = 5000): Promise<Reply> {
    const id = mint();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new NoAnswer(`no answer within ${patience_ms / 1000} s`));
      }, patience_ms);
      this.waiting.set(id, { since: Date.now(), resolve, reject, timer });
      if (!this.send({ ...body, id, type })) {
        clearTimeout(timer);
        this.waiting.delete(id);
        reject(new NoAnswer('the kernel is gone'));
      } else {
        setTimeout(() => this.waiting.has(id) && this.send({ type: 'nudge' }), NUDGE_MS);
      }
    });
  }

  /** Calls back whenever the link changes, until the view is gone. */
  watch(callback: (link: Link) => void): void {
    this.watchers.add(callback);
  }

  private send(message: object): boolean {
    try {
      this.model.send(message);
      return true;
    } catch { // JupyterLab throws "Cannot send" once the kernel that knew this widget has ended
      this.setLink('gone');
      return false;
    }
  }

  private receive(reply: Reply): void {
    if (!reply || typeof reply.id !== 'string') return;
    const waiting = this.waiting.get(reply.id);
    if (reply.id === this.hello) this.hello = null;
    else if (!waiting) return; // another tab asked
    this.answered = Date.now();
    this.setLink('live');
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.waiting.delete(reply.id);
    if (reply.type === 'error') waiting.reject(new CommandError(String(reply.kind), String(reply.error), reply.ours === true));
    else waiting.resolve(reply);
  }

  private sayHello(): void {
    this.saidHello = Date.now();
    if (this.hello === null) this.answered = Math.max(this.answered, this.saidHello); // silence is counted from the question
    this.hello = mint();
    this.send({ id: this.hello, type: 'hello' });
  }

  private beat(): void {
    if (document.hidden) return;
    const now = Date.now();
    const kernel = (this.model.widget_manager as { kernel?: Kernel | null } | undefined)?.kernel;
    const state = kernel ? `${kernel.connectionStatus ?? ''}` : '';
    const died = !!kernel && (DEAD.has(kernel.status ?? '') || (!!kernel.connectionStatus && kernel.connectionStatus !== 'connected'));
    const [oldest] = this.waiting.values(); // a command without an answer is a sign as well, and comes sooner than the next hello
    const quietSince = this.hello !== null ? this.answered : Math.max(this.answered, oldest?.since ?? now);
    if (now - quietSince > SILENT_MS && this.link === 'live') this.setLink('silent');
    if (died && this.link === 'live') this.setLink('silent');
    const pause = kernel && this.link === 'live' && this.hello === null && state === this.kernelState ? IDLE_HELLO_MS : BLIND_HELLO_MS;
    this.kernelState = state;
    if (now - this.saidHello >= (this.hello !== null ? BEAT_MS : pause)) this.sayHello();
  }

  private setLink(link: Link): void {
    if (link === this.link) return;
    this.link = link;
    for (const callback of this.watchers) callback(link);
  }
}
