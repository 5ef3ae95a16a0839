/** Dragging by mouse, pen or finger: from a handle, with a target under the pointer, scrolling at the edges. */

const SLACK = 4; // px before a press becomes a drag
const EDGE = 48; // px from the window's edge where the page starts to scroll
const SPEED = 9; // px a frame

interface Drag {
  /** A drag has begun, moved to a height in the window, or ended; `dropped` is false where it was given up. */
  start(): void;
  move(y: number): void;
  end(dropped: boolean): void;
}

/** Makes `handle` move `card`; the handle needs `touch-action: none`, or a finger scrolls the page. */
export function draggable(handle: HTMLElement, card: HTMLElement, allowed: () => boolean, drag: Drag, signal: AbortSignal): void {
  let from: { y: number; scroll: number } | null = null;
  let active = false;
  let at = 0;
  let frame = 0;
  const scroller = () => scrollable(card);

  const follow = () => {
    if (!from) return;
    card.style.translate = `0 ${at - from.y + scroller().scrollTop - from.scroll}px`;
    drag.move(at);
  };
  const edge = () => {
    const box = scroller();
    const { top, bottom } = box === document.scrollingElement ? { top: 0, bottom: innerHeight } : box.getBoundingClientRect();
    const by = at < Math.max(0, top) + EDGE ? -SPEED : at > Math.min(innerHeight, bottom) - EDGE ? SPEED : 0;
    if (by) {
      box.scrollTop += by;
      follow();
    }
    frame = requestAnimationFrame(edge);
  };
  const finish = (dropped: boolean) => {
    if (!from) return;
    const moved = active;
    from = null;
    active = false;
    cancelAnimationFrame(frame);
    card.style.translate = '';
    card.classList.remove('rate-lifted');
    if (moved) drag.end(dropped);
  };

  handle.addEventListener('pointerdown', (event) => {
    if (event.button || !event.isPrimary || !allowed()) return;
    from = { y: event.clientY, scroll: scroller().scrollTop };
    handle.setPointerCapture(event.pointerId);
  }, { signal });
  handle.addEventListener('pointermove', (event) => {
    if (!from || !event.isPrimary) return;
    at = event.clientY;
    if (!active && Math.abs(at - from.y) > SLACK) {
      active = true;
      card.classList.add('rate-lifted');
      drag.start();
      frame = requestAnimationFrame(edge);
    }
    if (active) follow();
  }, { signal });
  handle.addEventListener('pointerup', () => finish(true), { signal });
  handle.addEventListener('pointercancel', () => finish(false), { signal });
  handle.addEventListener('lostpointercapture', () => finish(false), { signal });
  addEventListener('keydown', (event) => {
    if (!active || event.key !== 'Escape') return;
    event.preventDefault();
    event.stopPropagation();
    finish(false);
  }, { signal, capture: true });
  signal.addEventListener('abort', () => cancelAnimationFrame(frame));
}

/** What scrolls when this element does. */
function scrollable(element: HTMLElement): Element {
  for (let one = element.parentElement; one; one = one.parentElement) {
    if (one.scrollHeight > one.clientHeight && /auto|scroll/.test(getComputedStyle(one).overflowY)) return one;
  }
  return document.scrollingElement ?? document.documentElement;
}
