import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Channel } from '../src/lib/channel';
import { Outbox, Postman, type Posted } from '../src/lib/outbox';
import { TestModel } from './page';

let controller: AbortController;
beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  controller = new AbortController();
});
afterEach(() => {
  controller.abort();
  vi.useRealTimers();
});

function desk(model: TestModel<object>, name = 'desk') {
  const outbox = new Outbox(name);
  const log: string[] = [];
  const channel = new Channel(model, controller.signal);
  const postman = new Postman(outbox, channel, 'record', {
    receipt: (event, reply) => log.push(`receipt ${event.event_id} ${String(reply.seq)}`),
    refused: (event, reason) => log.push(`refused ${event.event_id} ${reason}`),
    pending: (event, reason) => log.push(`pending ${event.event_id} ${reason}`),
  }, controller.signal);
  return { outbox, postman, log, channel };
}

/** A store that commits each id once. */
function store() {
  const ids: string[] = [];
  return {
    ids,
    take: (message: { type: string; [name: string]: unknown }) => {
      if (message.type !== 'record') return {};
      const { event_id } = message.event as Posted;
      if (!ids.includes(event_id)) ids.push(event_id);
      return { seq: ids.indexOf(event_id) + 1 };
    },
  };
}

test('an event leaves the outbox with its receipt and not before', async () => {
  const model = new TestModel({});
  model.kernel = () => null;
  const { outbox, postman, log } = desk(model);
  postman.post({ event_id: 'a' });
  await vi.advanceTimersByTimeAsync(4000);
  expect(outbox.entries().map(({ event }) => event.event_id)).toEqual(['a']);
  expect(localStorage.length).toBe(1);
  model.kernel = store().take;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(log.at(-1)).toBe('receipt a 1');
  expect(outbox.entries()).toEqual([]);
  expect(localStorage.length).toBe(0);
});

test('a lost receipt leads to the same event again, never to a second one', async () => {
  const model = new TestModel({});
  const { ids, take } = store();
  let lost = 2;
  model.kernel = (message) => {
    const reply = take(message);
    return message.type === 'record' && lost-- > 0 ? null : reply;
  };
  const { postman, log } = desk(model);
  postman.post({ event_id: 'a' });
  await vi.advanceTimersByTimeAsync(30_000);
  expect(ids).toEqual(['a']);
  expect(log.at(-1)).toBe('receipt a 1');
  expect(model.sent.filter(({ type }) => type === 'record').length).toBe(3);
});

test('events arrive in the order in which they were made, one at a time', async () => {
  const model = new TestModel({});
  const { ids, take } = store();
  model.kernel = () => null;
  const { postman } = desk(model);
  for (const event_id of ['c', 'a', 'b']) postman.post({ event_id });
  await vi.advanceTimersByTimeAsync(1000);
  expect(model.sent.filter(({ type }) => type === 'record').length).toBe(1);
  model.kernel = take;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(ids).toEqual(['c', 'a', 'b']);
});

test('another page sends what this one left behind', async () => {
  const dead = new TestModel({});
  dead.gone = true;
  desk(dead).postman.post({ event_id: 'a', choice: 'tie' });
  await vi.advanceTimersByTimeAsync(100);
  const model = new TestModel({});
  const { ids, take } = store();
  model.kernel = take;
  const second = desk(model);
  expect(second.outbox.entries().map(({ event }) => event)).toEqual([{ event_id: 'a', choice: 'tie' }]);
  await second.postman.deliver();
  expect(ids).toEqual(['a']);
});

test('two desks share the browser and not their events', () => {
  new Outbox('one').put({ event_id: 'a' });
  new Outbox('two').put({ event_id: 'b' });
  expect(new Outbox('one').entries().map(({ event }) => event.event_id)).toEqual(['a']);
});

test('a refusal is told once and not repeated', async () => {
  const model = new TestModel({});
  model.kernel = ({ type }) => (type === 'record' ? { refused: 'answered already' } : {});
  const { outbox, postman, log } = desk(model);
  postman.post({ event_id: 'a' });
  await vi.advanceTimersByTimeAsync(30_000);
  expect(log).toEqual(['refused a answered already']);
  expect(outbox.entries()).toEqual([]);
});

test('a failure keeps the event and says why', async () => {
  const model = new TestModel({});
  model.kernel = ({ type }) => (type === 'record' ? { type: 'error', error: 'disk full', kind: 'NotSaved', ours: true } : {});
  const { outbox, postman, log } = desk(model);
  postman.post({ event_id: 'a' });
  await vi.advanceTimersByTimeAsync(100);
  expect(log).toEqual(['pending a disk full']);
  expect(outbox.entries().length).toBe(1);
});

test('a browser that stores nothing keeps events for the page and owns up to it', async () => {
  const full = { length: 0, key: () => null, getItem: () => null, removeItem: () => undefined, clear: () => undefined, setItem: () => { throw new DOMException('full', 'QuotaExceededError'); } };
  const outbox = new Outbox('desk', full);
  outbox.put({ event_id: 'a' });
  expect(outbox.durable).toBe(false);
  expect(outbox.entries().length).toBe(1);
});

test('a damaged entry is left alone', () => {
  localStorage.setItem('ftlab:outbox:desk:x', '{"half');
  expect(new Outbox('desk').entries()).toEqual([]);
});
