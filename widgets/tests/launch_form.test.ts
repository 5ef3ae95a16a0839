import { expect, test } from 'vitest';
import { Field, fieldAt, place, type Change, type Form } from '../src/lib/form/field';
import { labelOf, schemaAt, shapeOf, type Schema } from '../src/lib/form/schema';
import { alike, at, spelled, type Tree } from '../src/lib/form/tree';

const LORA: Schema = {
  title: 'LoRA', description: 'A small adapter.', type: 'object',
  properties: {
    kind: { const: 'lora', default: 'lora', type: 'string' },
    rank: { type: 'integer', default: 8, exclusiveMinimum: 0, maximum: 1024, description: 'Width.' },
    alpha: { anyOf: [{ type: 'number', exclusiveMinimum: 0, maximum: 8192 }, { type: 'null' }], default: null, description: 'Counts; none: twice the rank.' },
    targets: { anyOf: [{ enum: ['all-linear', 'attention'], type: 'string' }, { type: 'array', items: { type: 'string' } }], default: 'all-linear', description: 'Which.' },
  },
};
const SCHEMA: Schema = {
  $defs: { LoRA: LORA, SFT: { title: 'SFT', description: 'All.', properties: { kind: { const: 'sft', type: 'string' } } }, DPO: { title: 'DPO', properties: { kind: { const: 'dpo', type: 'string' }, adapter: { anyOf: [{ $ref: '#/$defs/LoRA' }, { type: 'null' }], default: null, description: 'Adapter.' } }, required: [] } },
  properties: {
    model: { type: 'string', default: 'wren', description: 'Start.' },
    method: { oneOf: [{ $ref: '#/$defs/SFT' }, { $ref: '#/$defs/LoRA' }, { $ref: '#/$defs/DPO' }], discriminator: { propertyName: 'kind', mapping: {} }, description: 'How.' },
    seed: { type: 'integer', minimum: 0, exclusiveMaximum: 4294967296, default: 0 },
    flag: { type: 'boolean', default: false },
    block: { type: 'integer', enum: [32, 64], default: 64 },
    trackers: { type: 'array', items: { enum: ['a', 'b'] }, default: [] },
    trainer: { type: 'object', additionalProperties: {}, default: {} },
    context: { type: 'string', maxLength: 20000 },
  },
  required: ['context'],
};

const shape = (path: string, values: Tree = {}) => {
  const found = schemaAt(SCHEMA, path, values);
  return found && shapeOf(SCHEMA, found.schema, found.needed);
};

test('each kind of field is recognised for what it is', () => {
  const looks = Object.keys(SCHEMA.properties ?? {}).map((name) => [name, shape(name)?.look]);
  expect(Object.fromEntries(looks)).toEqual({ model: 'text', method: 'union', seed: 'number', flag: 'flag', block: 'choice', trackers: 'checks', trainer: 'map', context: 'prose' });
  expect(shape('method.targets', { method: { kind: 'lora' } })).toMatchObject({ look: 'words', options: ['all-linear', 'attention'], optional: false });
  expect(shape('method.adapter', { method: { kind: 'dpo' } })).toMatchObject({ look: 'section', optional: true });
  expect(shape('method')?.members.map(({ kind, about }) => [kind, about])).toEqual([['sft', 'All.'], ['lora', 'A small adapter.'], ['dpo', '']]);
  expect(shape('context')?.needed).toBe(true);
});

test('a path leads through the member that is chosen, and nowhere through another', () => {
  expect(shape('method.rank', { method: { kind: 'lora' } })?.description).toBe('Width.');
  expect(shape('method.rank', { method: { kind: 'sft' } })).toBeUndefined();
  expect(shape('method.adapter.rank', { method: { kind: 'dpo', adapter: {} } })?.look).toBe('number');
  expect(shape('nothing')).toBeUndefined();
  expect(() => shapeOf(SCHEMA, { $ref: '#/$defs/Gone' })).toThrow('the schema lacks');
});

test('ranges are told as people read them', () => {
  const range = (schema: Schema) => shapeOf(SCHEMA, schema).range;
  expect(range({ type: 'integer', exclusiveMinimum: 0, maximum: 1024 })).toBe('from 1 up to 1,024, whole numbers');
  expect(range({ type: 'integer', minimum: 0, exclusiveMaximum: 4294967296 })).toBe('from 0 up to 4,294,967,295, whole numbers');
  expect(range({ type: 'number', minimum: 0, exclusiveMaximum: 0.5 })).toBe('from 0 below 0.5');
  expect(range({ anyOf: [{ type: 'number', exclusiveMinimum: 0, maximum: 1 }, { type: 'null' }] })).toBe('above 0 up to 1');
  expect(range({ type: 'integer' })).toBe('whole numbers');
  expect(range({ type: 'string' })).toBe('');
});

test('values are found, spelled and compared as the form shows them', () => {
  expect(at({ a: { b: 1 } }, 'a.b')).toBe(1);
  expect(at({ a: { b: 1 } }, 'a.c')).toBeUndefined();
  expect(at({ a: 'text' }, 'a.length')).toBeUndefined();
  expect([0.0005, 0.001, 1e-5, 16, 0, null, true, [], ['x']].map((one) => spelled(one))).toEqual(['5e-4', '0.001', '1e-5', '16', '0', '', 'true', '', '["x"]']);
  expect([alike(8, '8'), alike(null, ''), alike(undefined, []), alike(8, 9)]).toEqual([true, true, true, false]);
});

test('labels come from the table by path, by last name, else from the name', () => {
  const labels = { learning_rate: 'Over all', '.dora': 'DoRA' };
  expect(['learning_rate', 'method.learning_rate', 'method.dora', 'max_new_tokens'].map((path) => labelOf(path, labels))).toEqual(['Over all', 'Learning rate', 'DoRA', 'Max new tokens']);
});

/** A form that keeps what it is told. */
class TestForm implements Form {
  id = 'f';
  schema = SCHEMA;
  labels = {};
  changes: Change[] = [];
  ahead = '';
  known = new Map<string, Field>();
  constructor(public own: Tree, public below: Tree, public wrong: Record<string, string> = {}) {}
  draft = () => this.own;
  defaults = () => this.below;
  faults = () => this.wrong;
  suggestions = () => [];
  isAhead = (path: string) => path === this.ahead;
  standing = () => 'shown' as const;
  change = (change: Change) => void this.changes.push(change);
  field = (path: string) => fieldAt(this, path, this.known);
}

const drawn = (form: TestForm, path: string) => {
  const field = form.field(path) as Field;
  document.body.replaceChildren(field.root);
  field.draw();
  return field;
};

test('a field shows its value, its default, its fault, and the way back', () => {
  const form = new TestForm({ method: { kind: 'lora', rank: 'x' } }, { method: { kind: 'lora', rank: 8, alpha: null } }, { 'method.rank': 'no integer' });
  const field = drawn(form, 'method.rank');
  const input = field.root.querySelector('input') as HTMLInputElement;
  expect(input.value).toBe('x');
  expect(input.getAttribute('aria-invalid')).toBe('true');
  expect(input.getAttribute('aria-describedby')?.split(' ').map((id) => document.getElementById(id)?.textContent)).toEqual(['Width. From 1 up to 1,024, whole numbers; default 8.', 'no integer']);
  field.root.querySelector<HTMLButtonElement>('.la-reset')?.click();
  expect(form.changes).toEqual([{ path: 'method.rank', reset: true }]);
  form.own = { method: { kind: 'lora' } };
  form.wrong = {};
  field.draw();
  expect(input.value).toBe('8');
  expect(field.root.querySelector<HTMLElement>('.la-mark')?.hidden).toBe(true);
});

test('text that Python does not know yet is left alone, and so is what is being typed', () => {
  const form = new TestForm({}, { model: 'wren' });
  const field = drawn(form, 'model');
  const input = field.root.querySelector('input') as HTMLInputElement;
  input.value = 'wren-x';
  form.ahead = 'model';
  field.draw();
  expect(input.value).toBe('wren-x');
  form.ahead = '';
  input.dispatchEvent(new Event('input'));
  form.own = { model: 'wren-xs' };
  field.draw();
  expect(input.value).toBe('wren-x');
  input.dispatchEvent(new Event('blur'));
  field.draw();
  expect(input.value).toBe('wren-xs');
});

test('a choice of numbers sends numbers', () => {
  const form = new TestForm({}, { block: 64 });
  const select = drawn(form, 'block').root.querySelector('select') as HTMLSelectElement;
  expect(select.value).toBe('64');
  select.value = '32';
  select.dispatchEvent(new Event('change'));
  expect(form.changes).toEqual([{ path: 'block', value: 32 }]);
});

test('a section that may be absent shows its fields only where it is there', () => {
  const form = new TestForm({ method: { kind: 'dpo' } }, { method: { kind: 'dpo', adapter: null } });
  const field = drawn(form, 'method.adapter');
  expect(field.root.querySelectorAll('[data-path]')).toHaveLength(0);
  form.own = { method: { kind: 'dpo', adapter: { rank: 4 } } };
  form.below = { method: { kind: 'dpo', adapter: { kind: 'lora', rank: 8, alpha: null, targets: 'all-linear' } } };
  field.draw();
  expect([...field.root.querySelectorAll('[data-path]')].map((one) => one.getAttribute('data-path'))).toEqual(['method.adapter.rank', 'method.adapter.alpha', 'method.adapter.targets']);
  expect(field.within().map(({ path }) => path)).toContain('method.adapter.rank');
});

test('a fault that no field shows stands at the nearest one that is shown', () => {
  const form = new TestForm({ trainer: 'x' }, { trainer: {} }, { 'trainer.a.b': 'is wrong' });
  expect(drawn(form, 'trainer').root.querySelector('.la-fault')?.textContent).toBe('a.b: is wrong');
});

test('elements that stand right already are not moved, so that the focus stays', () => {
  const [parent, one, two] = [document.createElement('div'), document.createElement('p'), document.createElement('p')];
  place(parent, [one, two]);
  const moves = new MutationObserver(() => undefined);
  moves.observe(parent, { childList: true });
  place(parent, [one, two]);
  expect(moves.takeRecords()).toHaveLength(0);
  place(parent, [two]);
  expect([...parent.children]).toEqual([two]);
});
