/** What a JSON Schema says of a field, as a form needs it. The values themselves are judged in Python alone. */
import { at, figure, isTree, type Json, type Tree } from './tree';

/** The part of JSON Schema that pydantic writes. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  title?: string;
  description?: string;
  type?: string;
  const?: Json;
  default?: Json;
  enum?: Json[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  discriminator?: { propertyName: string; mapping: Record<string, string> };
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  maxLength?: number;
}

export type Look = 'number' | 'text' | 'prose' | 'flag' | 'choice' | 'words' | 'checks' | 'list' | 'map' | 'section' | 'union';

/** A field: how it looks, and everything that is told beside it. */
export interface Shape {
  look: Look;
  /** Whether it may be none. */
  optional: boolean;
  needed: boolean;
  description: string;
  /** "above 0, up to 1,024"; empty where any value will do. */
  range: string;
  options: Json[];
  /** Members of a union, or the one section that an optional field may hold. */
  members: { kind: string; title: string; about: string; schema: Schema }[];
}

const PROSE_FROM = 1000; // characters; whoever may write that many is given several lines

/** The schema with its reference followed; what stands beside a reference counts. */
export function resolved(root: Schema, schema: Schema): Schema {
  if (!schema.$ref) return schema;
  const found = root.$defs?.[schema.$ref.split('/').at(-1) ?? ''];
  if (!found) throw new Error(`the schema lacks ${schema.$ref}`);
  const { $ref: _, ...beside } = schema;
  return { ...found, ...beside };
}

/** The schema of the field at a path, of the members that the tree holds now; undefined where there is none. */
export function schemaAt(root: Schema, path: string, values: Tree): { schema: Schema; needed: boolean } | undefined {
  let owner: Schema | undefined = root;
  let found: { schema: Schema; needed: boolean } | undefined;
  const gone: string[] = [];
  for (const name of path.split('.')) {
    const schema: Schema | undefined = owner?.properties?.[name];
    if (!schema) return undefined;
    found = { schema, needed: owner?.required?.includes(name) ?? false };
    gone.push(name);
    owner = memberAt(root, schema, at(values, gone.join('.')));
  }
  return found;
}

/** The section that a value of this schema is: of a union the one with its kind. */
function memberAt(root: Schema, schema: Schema, value: Json | undefined): Schema | undefined {
  const members = membersOf(root, schema);
  if (members.length > 1) return members.find(({ kind }) => isTree(value) && value.kind === kind)?.schema;
  return members[0]?.schema;
}

function membersOf(root: Schema, schema: Schema): Shape['members'] {
  const whole = resolved(root, schema);
  const parts = whole.oneOf ?? whole.anyOf ?? [whole];
  return parts.map((part) => resolved(root, part)).filter((part) => part.properties).map((part) => ({
    kind: String(part.properties?.kind?.const ?? part.title ?? ''),
    title: part.title ?? '',
    about: part.description ?? '',
    schema: part,
  }));
}

export function shapeOf(root: Schema, schema: Schema, needed = false): Shape {
  const whole = resolved(root, schema);
  const parts = (whole.anyOf ?? [whole]).filter((part) => part.type !== 'null').map((part) => resolved(root, part));
  const optional = !!whole.anyOf?.some((part) => part.type === 'null');
  const [first = {}] = parts;
  const words = parts.length > 1 ? parts.find((part) => part.enum) : undefined;
  const look = words ? 'words' : lookOf(first);
  return {
    look,
    optional,
    needed,
    description: whole.description ?? first.description ?? '',
    range: rangeOf(first),
    options: ((words ?? first).enum ?? first.items?.enum ?? []),
    members: look === 'union' || look === 'section' ? membersOf(root, schema) : [],
  };
}

function lookOf(schema: Schema): Look {
  if (schema.oneOf) return 'union';
  if (schema.properties) return 'section';
  if (schema.enum) return 'choice';
  if (schema.type === 'array') return schema.items?.enum ? 'checks' : 'list';
  if (schema.type === 'boolean') return 'flag';
  if (schema.type === 'integer' || schema.type === 'number') return 'number';
  if (schema.type === 'object') return 'map';
  return (schema.maxLength ?? 0) >= PROSE_FROM ? 'prose' : 'text';
}

function rangeOf({ type, minimum, exclusiveMinimum, maximum, exclusiveMaximum }: Schema): string {
  if (type !== 'integer' && type !== 'number') return '';
  const told = (value: number) => (Math.abs(value) >= 1e6 || value === 0 ? value.toLocaleString('en') : Math.abs(value) < 1e-3 ? figure(value) : value.toLocaleString('en', { maximumFractionDigits: 4 }));
  const parts = [
    minimum !== undefined && `from ${told(minimum)}`,
    exclusiveMinimum !== undefined && (type === 'integer' ? `from ${told(exclusiveMinimum + 1)}` : `above ${told(exclusiveMinimum)}`),
    maximum !== undefined && `up to ${told(maximum)}`,
    exclusiveMaximum !== undefined && (type === 'integer' ? `up to ${told(exclusiveMaximum - 1)}` : `below ${told(exclusiveMaximum)}`),
  ].filter((part): part is string => !!part);
  return `${parts.join(' ')}${type === 'integer' ? `${parts.length ? ', ' : ''}whole numbers` : ''}`;
}

/** "max_new_tokens" as a label: "Max new tokens". */
export function labelOf(path: string, labels: Record<string, string>): string {
  const name = path.split('.').at(-1) ?? path;
  const given = labels[path] ?? labels[`.${name}`];
  if (given) return given;
  const words = name.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
