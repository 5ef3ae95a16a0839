import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Channel, CommandError, NoAnswer, type Link } from '../src/lib/channel';
import { TestModel } from './page';

let controller: AbortController;
beforeEach(() => {
  vi.useFakeTimers();
  controller = new AbortController();
});
afterEach(() => {
  controller.abort();
  vi.useRealTimers();
});

function open(model: TestModel<object>): { channel: Channel; links: Link[] } {
  const channel = new Channel(model, controller.signal);
  const links: Link[] = [];
  channel.watch((link) => links.push(link));
  return { channel, links };
}

test('a command is answered by the reply that carries its id', async () => {
  const model = new TestModel({});
  model.kernel = ({ type, n }) => (type === 'double' ? { twice: 2 * Number(n) } : {});
  const { channel } = open(model);
  const [one, two] = await Promise.all([channel.ask('double', { n: 1 }), channel.ask('double', { n: 2 })]);
  expect([one.twice, two.twice]).toEqual([2, 4]);
});

test('an error in Python rejects with its words and its kind', async () => {
  const model = new TestModel({});
  model.kernel = () => ({ type: 'error', error: 'the disk is full', kind: 'NotSaved', ours: true });
  const { channel } = open(model);
  const failed = channel.ask('record');
  await expect(failed).rejects.toThrow('the disk is full');
  await expect(failed).rejects.toBeInstanceOf(CommandError);
});

test('silence rejects after the patience asked for', async () => {
  const model = new TestModel({});
  model.kernel = ({ type }) => (type === 'hello' ? {} : null);
  const { channel } = open(model);
  const failed = expect(channel.ask('record', {}, 1000)).rejects.toBeInstanceOf(NoAnswer);
  await vi.advanceTimersByTimeAsync(1000);
  await failed;
  expect(channel.link).toBe('live');
});

test('a reply to another tab is no sign and no answer', async () => {
  const model = new TestModel({});
  model.kernel = () => null;
  const { channel } = open(model);
  const failed = expect(channel.ask('record', {}, 1000)).rejects.toBeInstanceOf(NoAnswer);
  model.emit('msg:custom', { id: 'somebody else', type: 'done' });
  model.emit('msg:custom', null);
  await vi.advanceTimersByTimeAsync(1000);
  await failed;
});

test('a kernel that stops answering is silent within five seconds, and live again once it answers', async () => {
  const model = new TestModel({});
  const { channel, links } = open(model);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(links).toEqual([]);
  model.kernel = () => null;
  let waited = 0;
  while (channel.link === 'live' && waited < 20) {
    await vi.advanceTimersByTimeAsync(500);
    waited += 0.5;
  }
  expect(channel.link).toBe('silent');
  expect(waited).toBeLessThanOrEqual(5);
  model.kernel = () => ({});
  await vi.advanceTimersByTimeAsync(2000);
  expect(links).toEqual(['silent', 'live']);
});

test('a page that knows its kernel sees it die at once and asks seldom while it lives', async () => {
  const kernel = { status: 'idle', connectionStatus: 'connected' };
  const model = new TestModel({});
  (model as { widget_manager?: unknown }).widget_manager = { kernel };
  const { links } = open(model);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(model.sent.length).toBeLessThanOrEqual(4);
  model.kernel = () => null;
  kernel.status = 'autorestarting';
  await vi.advanceTimersByTimeAsync(1000);
  expect(links).toEqual(['silent']);
});

test('a command that finds no answer tells of the silence before the next hello would', async () => {
  const kernel = { status: 'busy', connectionStatus: 'connected' }; // a kernel killed just now looks like this
  const model = new TestModel({});
  (model as { widget_manager?: unknown }).widget_manager = { kernel };
  const { channel, links } = open(model);
  await vi.advanceTimersByTimeAsync(2000);
  model.kernel = () => null;
  channel.ask('record').catch(() => undefined);
  await vi.advanceTimersByTimeAsync(3000);
  expect(links).toEqual([]);
  await vi.advanceTimersByTimeAsync(1500);
  expect(links).toEqual(['silent']);
});

test('a model that cannot send any more is gone', async () => {
  const model = new TestModel({});
  const { channel, links } = open(model);
  await vi.advanceTimersByTimeAsync(0); // the first greeting is answered
  model.gone = true;
  await expect(channel.ask('record')).rejects.toBeInstanceOf(NoAnswer);
  expect(links).toEqual(['gone']);
});

test('a hidden page asks nothing', async () => {
  const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
  const model = new TestModel({});
  open(model);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(model.sent.length).toBe(1);
  hidden.mockRestore();
});

test('a closed view leaves nothing behind', async () => {
  const model = new TestModel({});
  open(model);
  controller.abort();
  const before = model.sent.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(model.sent.length).toBe(before);
  expect(model.listening()).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});
