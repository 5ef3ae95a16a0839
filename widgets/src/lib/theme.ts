/** The notebook's colours, for what is drawn on a canvas; everything else follows the CSS variables by itself. */

/** Calls `repaint` when JupyterLab changes its theme, or the system does where there is no JupyterLab. */
export function onTheme(repaint: () => void, signal: AbortSignal): void {
  const observer = new MutationObserver(repaint);
  observer.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name', 'class'] });
  const system = matchMedia('(prefers-color-scheme: dark)');
  system.addEventListener('change', repaint, { signal });
  signal.addEventListener('abort', () => observer.disconnect());
}

/** The value of a CSS variable as it applies to this element, such as `--ft-ink`, resolved to what a canvas understands. */
export function colour(element: Element, name: string): string {
  const probe = element.ownerDocument.createElement('span');
  probe.style.color = `var(${name})`;
  probe.style.display = 'none';
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
