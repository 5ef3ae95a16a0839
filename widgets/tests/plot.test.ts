import { describe, expect, it } from 'vitest';
import { brief } from '../src/lib/chart';
import { plot } from '../src/lib/plot';

const line = (values: (number | null)[]) => ({ name: 'loss', steps: values.map((_, at) => at), values, points: false });

describe('brief', () => {
  it('keeps counts whole and gives three digits of anything else', () => {
    expect([61, 4718592, 0.2, 0.12345, 1234.5, 0.00012, -0.5, null].map(brief)).toEqual(['61', '4,718,592', '0.2', '0.123', '1,235', '1.2e-4', '-0.5', '–']);
  });
});

describe('plot', () => {
  it('draws each line from its first to its last figure and tells both', () => {
    const drawn = plot('Loss', [line([2, 1.5, 1])], 'step', 'nats', 1);
    expect(drawn.querySelector('svg')!.getAttribute('aria-label')).toBe('Loss: loss from 2 to 1');
    expect(drawn.querySelectorAll('polyline')).toHaveLength(1);
    expect(drawn.querySelector('.pl-here')!.getAttribute('x1')).toBe(String(52 + (420 - 52 - 12) / 2));
  });
  it('names each axis where it stands', () => {
    const words = [...plot('Loss', [line([2, 1])], 'step', 'nats', null).querySelectorAll('text')].map((one) => one.textContent);
    expect(words).toContain('step');
    expect(words).toContain('nats');
  });
  it('leaves a gap out and survives a flat line, a single point, and nothing at all', () => {
    expect(plot('a', [line([1, null, 1])], '', '', null).querySelector('polyline')!.getAttribute('points')!.split(' ')).toHaveLength(2);
    expect(plot('b', [line([3])], '', '', null).innerHTML).not.toContain('NaN');
    expect(plot('c', [line([null])], '', '', null).textContent).toBe('Nothing to draw yet.');
  });
});
