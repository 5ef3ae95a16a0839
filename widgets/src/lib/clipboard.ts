import { h } from './dom';

/** Whether the text is on the clipboard; a plain-http page has no clipboard API. */
export async function copied(text: string, near: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'ft-unseen' });
    area.value = text;
    near.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
