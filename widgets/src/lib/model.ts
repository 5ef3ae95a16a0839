/** The part of anywidget's model that the widgets use; a page without a notebook can offer it as well. */
export interface Model<T extends object> {
  get<K extends keyof T & string>(name: K): T[K];
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
  widget_manager?: unknown;
}

/** What anywidget hands to `render`. */
export interface Scene<T extends object> {
  model: Model<T>;
  el: HTMLElement;
  signal: AbortSignal;
}

/** Calls `draw` now, and again once per frame in which any of the traits changed. */
export function observe<T extends object>(model: Model<T>, names: (keyof T & string)[], draw: () => void, signal: AbortSignal): void {
  let asked = 0;
  const ask = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
  for (const name of names) model.on(`change:${name}`, ask);
  signal.addEventListener('abort', () => {
    for (const name of names) model.off(`change:${name}`, ask);
    cancelAnimationFrame(asked);
  });
  draw();
}
