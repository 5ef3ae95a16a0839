/** A place inside a widget where another widget of the same kernel is shown. */
import { fill, h } from './dom';

/** The part of a notebook's widget manager that shows one widget inside another. */
interface Manager {
  get_model(id: string): Promise<unknown>;
  create_view(model: unknown, options?: object): Promise<{ el: HTMLElement; remove(): void }>;
}

export class Stage {
  readonly root = h('div', {});
  private shown = '';
  private leave: (() => void) | null = null;

  constructor(private model: { widget_manager?: unknown }, signal: AbortSignal) {
    signal.addEventListener('abort', () => this.leave?.());
  }

  /** Shows the model of this id, and nothing for ''; true where it was not here before. A page without a notebook's manager stays empty. */
  async show(id: string): Promise<boolean> {
    const manager = this.model.widget_manager as Partial<Manager> | undefined;
    if (id === this.shown || !manager?.get_model || !manager.create_view) return false;
    this.shown = id;
    this.leave?.();
    this.leave = null;
    fill(this.root);
    if (!id) return false;
    const view = await manager.create_view(await manager.get_model(id), {});
    if (this.shown !== id) {
      view.remove();
      return false;
    }
    this.leave = () => view.remove();
    fill(this.root, view.el);
    return true;
  }
}
