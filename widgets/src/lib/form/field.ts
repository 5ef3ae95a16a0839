/** One field of the form: label, control, description, range, default, fault, and the way back. */
import { fill, h, setText } from '../dom';
import { labelOf, schemaAt, shapeOf, type Schema, type Shape } from './schema';
import { alike, at, isTree, spelled, type Json, type Tree } from './tree';

export type Change = { path: string; value: Json } | { path: string; kind: string } | { path: string; reset: true };

/** What fields ask of their form. */
export interface Form {
  readonly id: string;
  readonly schema: Schema;
  readonly labels: Record<string, string>;
  draft(): Tree;
  defaults(): Tree;
  faults(): Record<string, string>;
  suggestions(path: string): { value: string; about: string }[];
  /** Whether the field's own text is newer than what Python knows. */
  isAhead(path: string): boolean;
  change(change: Change, soon: boolean): void;
  field(path: string): Field | null;
  /** Where a field inside another one stands. */
  standing(path: string): 'shown' | 'folded' | 'unused';
}

/** The control inside a field. */
interface Control {
  root: HTMLElement;
  /** What takes the focus and carries the description. */
  target: HTMLElement;
  draw(value: Json | undefined, fallback: Json | undefined): void;
  /** What was typed may be overwritten again. */
  release?(): void;
}

const WORDS: Record<string, string> = { 'all-linear': 'all linear weights', kl: 'KL, token by token', sft: 'SFT on its answers', mlp: 'MLP', lstm: 'LSTM', ipo: 'IPO', pissa: 'PiSSA', olora: 'OLoRA', cpu: 'CPU', cuda: 'GPU (CUDA)', auto: 'automatic', trackio: 'Trackio', tensorboard: 'TensorBoard', wandb: 'W&B' };
const KINDS: Record<string, string> = { hinton: 'Hinton', word: 'Word level', sequence: 'Sequence level', gkd: 'GKD', minillm: 'MiniLLM', lora: 'LoRA' };
const called = (word: string) => WORDS[word] ?? word;

export class Field {
  readonly root: HTMLElement;
  readonly shape: Shape;
  private readonly control: Control;
  private readonly help: HTMLElement;
  private readonly fault: HTMLElement;
  private readonly mark = h('span', { class: 'la-mark', hidden: true }, 'changed');
  private readonly reset: HTMLButtonElement;
  private readonly nested: HTMLElement | null;
  private readonly fold = h('details', { class: 'la-fold la-inner' }, h('summary', {}, h('span', {}, 'More')), h('div', { class: 'la-grid' }));
  private readonly label: string;

  constructor(private form: Form, readonly path: string, readonly schema: Schema, needed: boolean) {
    this.shape = shapeOf(form.schema, schema, needed);
    this.label = labelOf(path, form.labels);
    const id = `${form.id}-${path.replaceAll('.', '-')}`;
    this.help = h('div', { class: 'la-help', id: `${id}-help` });
    this.fault = h('div', { class: 'la-fault', id: `${id}-fault`, hidden: true });
    this.reset = h('button', { type: 'button', class: 'ft-quiet la-reset', hidden: true, onclick: () => this.back() }, '↺');
    this.control = control(form, path, this.shape, id, this.label);
    this.control.target.setAttribute('aria-describedby', `${id}-help ${id}-fault`);
    this.nested = ['section', 'union'].includes(this.shape.look) ? h('div', { class: 'la-nested', role: 'group', 'aria-label': `${this.label}: settings`, hidden: true }) : null;
    const isFlag = this.shape.look === 'flag';
    const isGroup = this.control.target.getAttribute('role') === 'group';
    const title = isGroup ? h('span', { class: 'la-name', id: `${id}-name` }, this.label) : h('label', { class: 'la-name', for: id }, this.label);
    if (isGroup) this.control.target.setAttribute('aria-labelledby', `${id}-name`);
    const head = h('div', { class: 'la-label' }, isFlag && this.control.root, title, needed && h('span', { class: 'la-needed' }, 'needed'), this.mark, this.reset);
    this.root = h('div', { class: `la-field la-is-${this.shape.look}`, 'data-path': path }, head, !isFlag && this.control.root, this.help, this.fault, this.nested);
  }

  draw(): void {
    const value = at(this.form.draft(), this.path);
    const fallback = at(this.form.defaults(), this.path);
    const told = this.shape.look === 'map' || this.shape.look === 'section' || this.shape.look === 'union' ? undefined : fallback;
    if (!this.form.isAhead(this.path)) this.control.draw(value, fallback);
    const inner = this.nested ? this.inner() : [];
    setText(this.help, this.words(told));
    const isChanged = value !== undefined && (isTree(value) ? this.shape.optional || this.differs(value) : !alike(value, fallback));
    this.mark.hidden = !isChanged;
    this.reset.hidden = !isChanged;
    const back = told === undefined || told === null ? 'the default' : spelled(told) || 'empty';
    this.reset.setAttribute('aria-label', `${this.label}: back to ${back}`);
    this.reset.title = `Back to ${back}`;
    const fault = this.form.faults()[this.path] ?? this.faultWithin(inner);
    this.fault.hidden = !fault;
    setText(this.fault, fault ?? '');
    this.control.target.setAttribute('aria-invalid', String(!!fault));
    for (const field of inner) field.draw();
    if (this.fold.querySelector('.la-fault:not([hidden])')) this.fold.open = true;
  }

  focus(): void {
    this.control.target.focus();
  }

  /** Every field that is drawn inside this one. */
  within(): Field[] {
    return this.nested ? this.inner().flatMap((field) => [field, ...field.within()]) : [];
  }

  private differs(value: Tree): boolean {
    const plain = this.schema.default;
    return Object.keys(value).some((name) => name !== 'kind') || (isTree(plain) && plain.kind !== value.kind);
  }

  private back(): void {
    this.control.release?.();
    this.form.change({ path: this.path, reset: true }, false);
    this.control.target.focus();
  }

  /** The fields of the section that is chosen now. */
  private inner(): Field[] {
    const value = at(this.form.draft(), this.path) ?? (this.shape.optional ? undefined : at(this.form.defaults(), this.path));
    const holds = isTree(value);
    const kind = holds ? (value.kind ?? (at(this.form.defaults(), `${this.path}.kind`))) : undefined;
    const member = this.shape.members.find((one) => one.kind === kind) ?? (holds ? this.shape.members[0] : undefined);
    const names = Object.keys(member?.schema.properties ?? {}).filter((name) => name !== 'kind');
    const fields = names.map((name) => this.form.field(`${this.path}.${name}`)).filter((field): field is Field => !!field && this.form.standing(field.path) !== 'unused');
    const folded = fields.filter(({ path }) => this.form.standing(path) === 'folded');
    const nested = this.nested as HTMLElement;
    nested.hidden = !fields.length;
    this.fold.hidden = !folded.length;
    place(this.fold.lastElementChild as Element, folded.map(({ root }) => root));
    place(nested, [...fields.filter((field) => !folded.includes(field)).map(({ root }) => root), this.fold]);
    return fields;
  }

  private words(fallback: Json | undefined): string {
    const { description, range, look } = this.shape;
    const value = at(this.form.draft(), this.path) ?? at(this.form.defaults(), this.path);
    const about = look === 'union' ? this.shape.members.find(({ kind }) => isTree(value) && value.kind === kind)?.about : '';
    const asDefault = this.shape.needed || look === 'flag' || look === 'list' || look === 'checks' || look === 'section' || look === 'union' || look === 'map' ? ''
      : fallback === null || fallback === undefined || fallback === '' ? '' : `default ${called(spelled(fallback))}`;
    const facts = [range, asDefault].filter(Boolean).join('; ');
    return [about || description, facts && `${facts.charAt(0).toUpperCase()}${facts.slice(1)}.`].filter(Boolean).join(' ');
  }

  /** A fault at a place that no field shows, such as one name of a list. */
  private faultWithin(inner: Field[]): string | undefined {
    const shown = new Set(inner.flatMap((field) => [field.path, ...field.within().map(({ path }) => path)]));
    const hits = Object.entries(this.form.faults()).filter(([path]) => path.startsWith(`${this.path}.`) && ![...shown].some((one) => path === one || path.startsWith(`${one}.`)));
    return hits.map(([path, text]) => `${path.slice(this.path.length + 1)}: ${text}`).join('; ') || undefined;
  }
}

/** Puts these elements there in this order, and leaves all alone where they stand so already. */
export function place(parent: Element, children: Element[]): void {
  if (children.length === parent.childElementCount && children.every((child, n) => parent.children[n] === child)) return;
  fill(parent, ...children);
}

/** The field at a path as the schema has it now; null where the draft holds no such section. */
export function fieldAt(form: Form, path: string, known: Map<string, Field>): Field | null {
  const values = merged(form.defaults(), form.draft());
  const found = schemaAt(form.schema, path, values);
  if (!found) return null;
  const old = known.get(path);
  // by what it says: a page may get the same schema anew with every message
  if (old && (old.schema === found.schema || JSON.stringify(old.schema) === JSON.stringify(found.schema))) return old;
  const made = new Field(form, path, found.schema, found.needed);
  known.set(path, made);
  return made;
}

function merged(below: Tree, above: Tree): Tree {
  const tree: Tree = { ...below };
  for (const [name, value] of Object.entries(above)) {
    const lower = tree[name];
    tree[name] = isTree(value) && isTree(lower) ? merged(lower, value) : value;
  }
  return tree;
}

function control(form: Form, path: string, shape: Shape, id: string, label: string): Control {
  const set = (value: Json, soon = false) => form.change({ path, value }, soon);
  switch (shape.look) {
    case 'flag': return flag(id, set);
    case 'choice': return choice(id, shape, set);
    case 'words': return words(id, label, shape, set);
    case 'checks': return checks(id, shape, set);
    case 'list': return rows(id, label, set);
    case 'map': case 'prose': return prose(id, shape.look === 'map', set);
    case 'union': return members(id, shape, (kind) => form.change({ path, kind }, false));
    case 'section': return members(id, shape, (kind) => (kind ? set({}) : form.change({ path, reset: true }, false)));
    default: return line(form, path, id, shape, set);
  }
}

type Set = (value: Json, soon?: boolean) => void;

function line(form: Form, path: string, id: string, shape: Shape, set: Set): Control {
  let isOwn = false; // somebody is typing: 2.50 must not become 2.5 under the hands
  const names = h('datalist', { id: `${id}-names` });
  const input = h('input', {
    type: 'text', id, autocomplete: 'off', spellcheck: 'false', 'aria-required': shape.needed ? 'true' : null,
    inputmode: shape.look === 'number' ? 'decimal' : null, class: shape.look === 'number' ? 'la-number' : null,
    oninput: () => {
      isOwn = true;
      set(input.value, true);
    },
    onchange: () => set(input.value),
    onblur: () => { isOwn = false; },
  });
  const none = shape.optional ? h('button', { type: 'button', class: 'ft-quiet la-none', 'aria-pressed': 'false', onclick: () => set(none?.getAttribute('aria-pressed') === 'true' ? '' : null) }, 'none') : null;
  const root = h('div', { class: 'la-line' }, input, names, none);
  let offered = '';
  return {
    root,
    target: input,
    release: () => { isOwn = false; },
    draw: (value, fallback) => {
      const shown = value === undefined ? fallback : value;
      const isNone = value === null && fallback !== null;
      if (!isOwn || isNone) input.value = spelled(shown);
      input.placeholder = isNone ? 'none' : fallback === null && shape.optional ? (/\bnone: ([^.;]+)/.exec(shape.description)?.[1] ?? 'none') : '';
      if (none) {
        none.hidden = fallback === null || fallback === undefined;
        none.setAttribute('aria-pressed', String(isNone));
        none.setAttribute('aria-label', `${labelOf(path, form.labels)}: none`);
      }
      const found = form.suggestions(path);
      const key = JSON.stringify(found);
      if (key === offered) return;
      offered = key;
      fill(names, ...found.map((one) => h('option', { value: one.value, label: `${one.value}: ${one.about}` })));
      if (found.length) input.setAttribute('list', names.id);
      else input.removeAttribute('list');
    },
  };
}

function prose(id: string, isMap: boolean, set: Set): Control {
  let isOwn = false;
  const area = h('textarea', {
    id, rows: 2, spellcheck: isMap ? 'false' : null, class: isMap ? 'la-code' : null, placeholder: isMap ? 'gradient_accumulation_steps: 4' : null,
    oninput: () => {
      isOwn = true;
      set(area.value, true);
    },
    onchange: () => set(area.value),
    onblur: () => { isOwn = false; },
  });
  return {
    root: area,
    target: area,
    release: () => { isOwn = false; },
    draw: (value, fallback) => {
      if (isOwn) return;
      area.value = typeof value === 'string' ? value : spelled(value ?? fallback);
      area.rows = Math.min(8, Math.max(2, area.value.split('\n').length));
    },
  };
}

function flag(id: string, set: Set): Control {
  const box = h('input', { type: 'checkbox', id, onchange: () => set(box.checked) });
  return { root: box, target: box, draw: (value, fallback) => { box.checked = (value ?? fallback) === true; } };
}

function choice(id: string, shape: Shape, set: Set): Control {
  const select = h('select', { id, onchange: () => set(shape.options.find((one) => String(one) === select.value) ?? null) }, // a number stays one
    shape.optional && h('option', { value: '' }, 'none'), ...shape.options.map((one) => h('option', { value: String(one) }, called(String(one)))));
  return { root: select, target: select, draw: (value, fallback) => { select.value = spelled(value ?? fallback); } };
}

/** One of a few words, or a list of one's own. */
function words(id: string, label: string, shape: Shape, set: Set): Control {
  const own = rows(`${id}-own`, `${label}, names`, set);
  const select = h('select', { id, onchange: () => {
    own.root.hidden = select.value !== '';
    set(select.value === '' ? [''] : select.value);
    if (!own.root.hidden) own.target.querySelector('input')?.focus();
  } }, ...shape.options.map((one) => h('option', { value: String(one) }, called(String(one)))), h('option', { value: '' }, 'names of my own…'));
  return {
    root: h('div', { class: 'la-words' }, select, own.root),
    target: select,
    draw: (value, fallback) => {
      const shown = value ?? fallback;
      select.value = Array.isArray(shown) ? '' : spelled(shown);
      own.root.hidden = !Array.isArray(shown);
      if (Array.isArray(shown)) own.draw(shown, []);
    },
  };
}

function checks(id: string, shape: Shape, set: Set): Control {
  const boxes = shape.options.map((one) => h('input', { type: 'checkbox', value: String(one), onchange: () => set(boxes.filter(({ checked }) => checked).map(({ value }) => value)) }));
  const root = h('div', { id, class: 'la-checks', role: 'group', tabindex: '-1' }, ...boxes.map((box) => h('label', {}, box, called(box.value))));
  return { root, target: root, draw: (value, fallback) => {
    const chosen = value ?? fallback;
    for (const box of boxes) box.checked = Array.isArray(chosen) && chosen.includes(box.value);
  } };
}

/** A list of texts, one line each; Enter begins the next. */
function rows(id: string, label: string, set: Set): Control {
  const lines = h('div', { class: 'la-rows' });
  const add = h('button', { type: 'button', class: 'la-add', onclick: () => { insert('', null).focus(); send(true); } }, '+ Add');
  const root = h('div', { id, role: 'group', 'aria-label': label, class: 'la-list', tabindex: '-1' }, lines, add);
  const inputs = () => [...lines.querySelectorAll('input')];
  const send = (soon = false) => set(inputs().map(({ value }) => value), soon);
  const name = () => inputs().forEach((input, n) => input.setAttribute('aria-label', `${label}, ${n + 1} of ${inputs().length}`));

  function insert(text: string, behind: Element | null): HTMLInputElement {
    const input = h('input', { type: 'text', oninput: () => send(true), onchange: () => send(), onkeydown: (event) => {
      if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey && !event.isComposing) {
        event.preventDefault();
        insert('', row).focus();
        send(true);
      } else if (event.key === 'Backspace' && !input.value) {
        event.preventDefault();
        drop(row);
      }
    } });
    input.value = text;
    const row = h('div', { class: 'la-row' }, input, h('button', { type: 'button', class: 'ft-quiet', 'aria-label': 'Remove this line', title: 'Remove', onclick: () => drop(row) }, '×'));
    if (behind) behind.after(row);
    else lines.append(row);
    name();
    return input;
  }

  function drop(row: Element): void {
    const next = row.previousElementSibling ?? row.nextElementSibling;
    row.remove();
    name();
    (next?.querySelector('input') ?? add).focus();
    send();
  }

  return { root, target: root, draw: (value, fallback) => {
    const wanted = (Array.isArray(value ?? fallback) ? (value ?? fallback) as Json[] : []).map((one) => (typeof one === 'string' ? one : spelled(one)));
    if (lines.contains(document.activeElement) || JSON.stringify(wanted) === JSON.stringify(inputs().map((one) => one.value))) return;
    fill(lines);
    for (const one of wanted) insert(one, null);
  } };
}

/** Which section it is, or none. */
function members(id: string, shape: Shape, choose: (kind: string) => void): Control {
  const select = h('select', { id, onchange: () => choose(select.value) },
    shape.optional && h('option', { value: '' }, 'none'), ...shape.members.map(({ kind, title }) => h('option', { value: kind }, KINDS[kind] ?? (shape.members.length === 1 ? 'yes' : title))));
  return { root: select, target: select, draw: (value, fallback) => {
    const shown = value ?? fallback;
    select.value = isTree(shown) ? String(shown.kind ?? shape.members[0]?.kind ?? '') : '';
  } };
}
