/** A model as anywidget gives it, small and real, with a kernel that the test plays. */
import type { Model } from '../src/lib/model';

export class TestModel<T extends object> implements Model<T> {
  sent: { id: string; type: string; [name: string]: unknown }[] = [];
  gone = false;
  kernel: (message: { id: string; type: string; [name: string]: unknown }) => object | null = () => ({});
  private listeners = new Map<string, ((...args: never[]) => void)[]>();

  constructor(public state: T) {}

  get<K extends keyof T & string>(name: K): T[K] {
    return this.state[name];
  }

  send(content: unknown): void {
    if (this.gone) throw new Error('Cannot send');
    const message = content as { id: string; type: string };
    this.sent.push(message);
    const body = this.kernel(message);
    if (body) queueMicrotask(() => this.emit('msg:custom', { type: 'done', ...body, id: message.id }));
  }

  on(event: string, callback: (...args: never[]) => void): void {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), callback]);
  }

  off(event: string, callback: (...args: never[]) => void): void {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== callback));
  }

  emit(event: string, ...args: unknown[]): void {
    for (const callback of this.listeners.get(event) ?? []) (callback as (...args: unknown[]) => void)(...args);
  }

  listening(): number {
    return [...this.listeners.values()].flat().length;
  }
}
