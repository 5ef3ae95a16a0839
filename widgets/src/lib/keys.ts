/**
 * Keys belong to the widget that has the focus. JupyterLab's command mode would otherwise take them:
 * `d d` deletes the cell, `a` and `b` insert one, Shift+Enter runs it.
 */
const TYPING = new Set(['INPUT', 'TEXTAREA', 'SELECT']);

/** Whether the key goes to a field that somebody types into. */
export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement | null;
  return !!target && (TYPING.has(target.tagName) || target.isContentEditable === true);
}

/**
 * Listens on a widget's root. `handle` returns true for a key it used. Every key stays inside, save Tab and the
 * notebook's own combinations (save, copy, command palette); Ctrl+Enter and Shift+Enter would run the cell and stay inside.
 */
export function ownKeys(root: HTMLElement, handle: (event: KeyboardEvent) => boolean, signal: AbortSignal): void {
  root.addEventListener(
    'keydown',
    (event) => {
      const combined = event.ctrlKey || event.metaKey || event.altKey;
      if (combined && event.key !== 'Enter') return;
      if (!event.isComposing && !combined && handle(event)) event.preventDefault();
      if (event.key !== 'Tab') event.stopPropagation();
    },
    { signal },
  );
}
