/**
 * A model's markdown as elements: what chat models write, nothing else.
 *
 * No HTML string exists anywhere on the way, so there is nothing to sanitise: a tag in the text is text, an image
 * is not fetched, a link leads to http, https or mailto. A general parser with a sanitiser weighs 82 kB, and a
 * widget's script is sent again for every widget and page; this is 3 kB.
 */
import { h, type Child } from './dom';

const LONGEST = 50_000; // characters; beyond it formatting helps nobody and costs time
const SPAN = '[\\s\\S]{0,1000}?'; // bounded, so that a million stray stars cost linear time
const INLINE = new RegExp(
  [
    '(?<code>(?<tick>`+)(?!`)(?<literal>[\\s\\S]{0,2000}?[^`])\\k<tick>(?!`))',
    '\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+\\-.!~>|])',
    '\\[(?<label>[^\\]\\n]{1,500})\\]\\((?<target>(?:https?:\\/\\/|mailto:)[^\\s)]{1,2000})\\)',
    '(?<bare>https?:\\/\\/[^\\s<>()\\[\\]"\'`*]{1,2000}[^\\s<>()\\[\\]"\'`*.,;:!?])',
    `(?<two>\\*\\*|(?<!\\w)__)(?=\\S)(?<strong>${SPAN}[^\\s])\\k<two>(?!\\*)`,
    `(?<one>\\*|(?<!\\w)_)(?=[^\\s*_])(?<em>${SPAN}[^\\s*])\\k<one>(?!\\w)`,
    `~~(?=\\S)(?<gone>${SPAN}\\S)~~`,
  ].join('|'),
  'g',
);

/** For finished text; a stream is shown as it comes until it ends, or half a fence would flicker. */
export function markdown(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment();
  fragment.append(...(text.length > LONGEST ? [h('div', { class: 'ft-text' }, text)] : blocks(text.replace(/\r\n?/g, '\n').split('\n'), 0)));
  return fragment;
}

function blocks(lines: string[], depth: number): Node[] {
  const made: Node[] = [];
  let at = 0;
  const take = (wanted: (line: string) => boolean): string[] => {
    const from = at;
    while (at < lines.length && wanted(lines[at]!)) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at]!;
    const fence = /^ {0,3}(`{3,}|~{3,})[^`]*$/.exec(line);
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      at += 1;
      const body = take((one) => !one.trim().startsWith(fence[1]!));
      at += 1;
      made.push(h('pre', {}, h('code', {}, body.join('\n'))));
    } else if (heading) {
      at += 1;
      made.push(h('p', {}, h('strong', {}, ...inline(heading[2]!, 0)))); // a heading in an answer is no heading of the page
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      at += 1;
      made.push(h('hr'));
    } else if (/^ {0,3}>/.test(line) && depth < 8) {
      made.push(h('blockquote', {}, ...blocks(take((one) => /^ {0,3}>/.test(one)).map((one) => one.replace(/^ {0,3}> ?/, '')), depth + 1)));
    } else if (isItem(line) && depth < 8) {
      made.push(list(take((one) => isItem(one) || /^\s+\S/.test(one)), depth));
    } else if (line.includes('|') && isRule(lines[at + 1])) {
      made.push(table(take((one) => one.includes('|'))));
    } else {
      const first = lines[at]!;
      at += 1; // always one, or a line that nothing above took would be looked at for ever
      made.push(h('p', {}, ...inline([first, ...take((one) => !!one.trim() && !isItem(one) && !/^ {0,3}(`{3,}|~{3,}|#{1,6}\s|>)/.test(one))].join('\n'), 0)));
    }
  }
  return made;
}

function isItem(line: string): boolean {
  return /^\s*([-*+]|\d{1,9}[.)])\s+\S/.test(line);
}

function isRule(line: string | undefined): boolean {
  return !!line && line.includes('-') && line.includes('|') && /^[\s|:-]+$/.test(line);
}

/** Items at the first item's indentation; deeper lines belong to the item above them. */
function list(lines: string[], depth: number): Node {
  const indent = /^\s*/.exec(lines[0]!)![0].length;
  const items: string[][] = [];
  for (const line of lines) {
    const mine = isItem(line) && /^\s*/.exec(line)![0].length <= indent;
    if (mine || !items.length) items.push([line.replace(/^\s*([-*+]|\d{1,9}[.)])\s+/, '')]);
    else items.at(-1)!.push(line);
  }
  const start = /^\s*(\d{1,9})[.)]/.exec(lines[0]!);
  const entries = items.map(([head, ...rest]) => {
    const margin = Math.min(...rest.map((line) => /^\s*/.exec(line)![0].length));
    return h('li', {}, ...inline(head!, 0), ...(rest.length ? blocks(rest.map((line) => line.slice(margin)), depth + 1) : []));
  });
  return start ? h('ol', { start: start[1] }, ...entries) : h('ul', {}, ...entries);
}

function table([head, , ...rows]: string[]): Node {
  const cells = (line: string) => line.trim().replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim());
  return h('table', {},
    h('thead', {}, h('tr', {}, ...cells(head!).map((cell) => h('th', {}, ...inline(cell, 0))))),
    h('tbody', {}, ...rows.map((row) => h('tr', {}, ...cells(row).map((cell) => h('td', {}, ...inline(cell, 0)))))));
}

function inline(text: string, depth: number): Child[] {
  if (depth > 6) return [text];
  const made: Child[] = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    made.push(...broken(text.slice(at, match.index)));
    at = match.index + match[0].length;
    const g = match.groups!;
    const inner = (part: string) => inline(part, depth + 1);
    if (g.literal !== undefined) made.push(h('code', {}, g.literal.replace(/^ (.*) $/s, '$1')));
    else if (g.escaped !== undefined) made.push(g.escaped);
    else if (g.label !== undefined) made.push(link(g.target!, inner(g.label)));
    else if (g.bare !== undefined) made.push(link(g.bare, [g.bare]));
    else if (g.strong !== undefined) made.push(h('strong', {}, ...inner(g.strong)));
    else if (g.em !== undefined) made.push(h('em', {}, ...inner(g.em)));
    else if (g.gone !== undefined) made.push(h('del', {}, ...inner(g.gone)));
  }
  made.push(...broken(text.slice(at)));
  return joined(made);
}

/** One text node where there would be many. */
function joined(children: Child[]): Child[] {
  const made: Child[] = [];
  for (const child of children) {
    if (typeof child === 'string' && typeof made.at(-1) === 'string') made.push(`${String(made.pop())}${child}`);
    else made.push(child);
  }
  return made;
}

function link(href: string, children: Child[]): Node {
  return h('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: href }, ...children);
}

/** Line breaks stay, as chat models mean them. */
function broken(text: string): Child[] {
  return text.split('\n').flatMap((part, index) => (index ? [h('br'), part] : [part])).filter((part) => part !== '');
}
