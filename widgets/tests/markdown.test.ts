import { expect, test } from 'vitest';
import { markdown } from '../src/lib/markdown';

function html(text: string): string {
  const box = document.createElement('div');
  box.append(markdown(text));
  return box.innerHTML;
}

test('the things that chat models write become elements', () => {
  expect(html('**Bold** and *soft* and `code`\nnext')).toBe('<p><strong>Bold</strong> and <em>soft</em> and <code>code</code><br>next</p>');
  expect(html('# Title\ntext')).toBe('<p><strong>Title</strong></p><p>text</p>');
  expect(html('- one\n- two\n  - deep\n\nafter')).toBe('<ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul><p>after</p>');
  expect(html('3. three\n4. four')).toBe('<ol start="3"><li>three</li><li>four</li></ol>');
  expect(html('```py\nif a < b:\n  **no**\n```\nafter')).toBe('<pre><code>if a &lt; b:\n  **no**</code></pre><p>after</p>');
  expect(html('> quoted\n> more')).toBe('<blockquote><p>quoted<br>more</p></blockquote>');
  expect(html('a | b\n--|--\n1 | 2')).toContain('<tbody><tr><td>1</td><td>2</td></tr></tbody>');
  expect(html('~~old~~ \\*kept\\*')).toBe('<p><del>old</del> *kept*</p>');
});

test('stars and underscores within words and sums stay as they are', () => {
  expect(html('2 * 3 * 4 and snake_case_name')).toBe('<p>2 * 3 * 4 and snake_case_name</p>');
});

test('an unclosed fence shows its code', () => {
  expect(html('```\nhalf')).toBe('<pre><code>half</code></pre>');
});

test.each([
  '<img src=x onerror=alert(1)>',
  '<script>alert(1)</script>',
  '<svg/onload=alert(1)>',
  '![x](https://example.org/track.png)',
  '[go](javascript:alert(1))',
  '[go](data:text/html,<script>alert(1)</script>)',
  '<a href="javascript:alert(1)">go</a>',
  '`<img src=x onerror=alert(1)>`',
  '- <iframe src=javascript:alert(1)>',
  'a | b\n--|--\n<img src=x onerror=alert(1)> | <style>*{display:none}</style>',
])('hostile text stays text: %s', (text) => {
  const box = document.createElement('div');
  box.append(markdown(text));
  const allowed = new Set(['P', 'CODE', 'UL', 'LI', 'TABLE', 'THEAD', 'TBODY', 'TR', 'TH', 'TD', 'A', 'BR']);
  for (const element of box.querySelectorAll('*')) {
    expect(allowed).toContain(element.tagName);
    for (const { name } of element.attributes) expect(['href', 'target', 'rel', 'title']).toContain(name);
    if (element instanceof HTMLAnchorElement) expect(element.protocol).toMatch(/^(https?|mailto):$/);
  }
});

test('a link opens elsewhere and tells nobody where it came from', () => {
  expect(html('see https://example.org/a?b=c.')).toBe('<p>see <a href="https://example.org/a?b=c" target="_blank" rel="noopener noreferrer nofollow" title="https://example.org/a?b=c">https://example.org/a?b=c</a>.</p>');
});

test.each(['*a '.repeat(16_000), '`'.repeat(49_000), '['.repeat(49_000), '**a __b '.repeat(6000), '> '.repeat(20_000), '- '.repeat(20_000) + 'x', '\\'.repeat(49_000)])('text made to be slow is not: %#', (text) => {
  const started = performance.now();
  html(text);
  expect(performance.now() - started).toBeLessThan(3000);
});
