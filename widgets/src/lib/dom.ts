/** Elements from values. Text only ever becomes a text node, so that no model's answer can become markup. */
export type Child = Node | string | number | null | undefined | false;

type Handlers = { [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void };
type Properties = Handlers & { [name: string]: unknown };

/** `h('button', { class: 'choice', 'aria-label': 'A', disabled: true, onclick }, 'A')`; null, undefined and false leave an attribute out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, properties: Properties = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') {
      if (!name.startsWith('on')) throw new TypeError(`${name}: only handlers are functions`);
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (name.startsWith('on')) {
      throw new TypeError(`${name}: a handler must be a function`); // an on… attribute would run text as code
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces what an element holds. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
}

/** Sets the text only where it differs, so that a screen reader does not announce the same thing twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
