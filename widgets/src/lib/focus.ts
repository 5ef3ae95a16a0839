/** Focus that stays in the widget. */

/**
 * Takes the focus to the widget's root where the focused control has just been disabled or hidden: the browser
 * would hand it to the page, and JupyterLab would take the next key for a command of its own (`d d`: the cell is gone).
 */
export function keepFocus(root: HTMLElement, focused: Element | null): void {
  if (!(focused instanceof HTMLElement) || !root.contains(focused) || focused === root) return;
  if (focused.matches(':disabled') || focused.closest('[hidden]')) root.focus({ preventScroll: true });
}
