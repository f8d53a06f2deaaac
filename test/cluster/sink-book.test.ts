import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SinkBook } from '../../src/cluster/sink-book.js';
import type { Config } from '../../src/config/schema.js';

type Sinks = Config['sinks'];

const blackholes = (...names: string[]): Sinks =>
  Object.fromEntries(names.map((name) => [name, { kind: 'blackhole' as const }]));

function archive(dir: string): Sinks[string] {
  return { kind: 'archive', dir } as Sinks[string];
}

/** Takes a configuration, as a reload does. */
function reload(book: SinkBook, sinks: Sinks): readonly string[] {
  const plan = book.plan(sinks);
  book.commit(plan);
  return plan.slots;
}

test('a sink that is removed keeps its slot until every worker has finished with it', () => {
  const book = new SinkBook(blackholes('a', 'b'), 2);
  assert.deepEqual(reload(book, blackholes('b', 'c')), ['', 'b', 'c']);
  assert.deepEqual([book.leaving, Object.keys(book.sinks)], [['a'], ['a', 'b', 'c']]);
  assert.equal(book.gone(0, 0, 1), undefined);
  assert.deepEqual(reload(book, blackholes('b', 'c', 'd')), ['', 'b', 'c', 'd']);
  assert.equal(book.gone(1, 0, 1), 'a');
  assert.deepEqual(book.leaving, []);
  assert.deepEqual(reload(book, blackholes('b', 'c', 'd', 'e')), ['e', 'b', 'c', 'd']);
});

test('one that comes back while it finishes is itself again; late words of its end are not of it', () => {
  const book = new SinkBook(blackholes('a', 'b'), 1);
  reload(book, blackholes('b'));
  assert.deepEqual(reload(book, blackholes('a', 'b')), ['a', 'b']);
  assert.equal(book.gone(0, 0, 1), undefined);
  reload(book, blackholes('b'));
  assert.equal(book.gone(0, 0, 1), undefined, 'of the first time');
  assert.deepEqual(book.leaving, ['a']);
  assert.equal(book.gone(0, 0, 3), 'a');
});

test('a worker that ended has finished with all', () => {
  const book = new SinkBook(blackholes('a', 'b'), 2);
  reload(book, blackholes('b'));
  assert.deepEqual(book.workerGone(0), []);
  assert.deepEqual(book.workerGone(1), ['a']);
});

test('what has no place is refused, and changes nothing', () => {
  const names = Array.from({ length: 16 }, (_, index) => `s${index}`);
  const book = new SinkBook(blackholes(...names), 1);
  const others = blackholes(...names.slice(1), 'one-more');
  assert.throws(() => book.plan(others), /sinks\.one-more: there are at most 16 .*s0; try again/);
  assert.deepEqual(book.slots, names);
  reload(book, blackholes(...names.slice(1)));
  const other = { ...blackholes(...names.slice(1)), s0: archive('/a') };
  assert.throws(() => book.plan(other), /sinks\.s0: the sink of another kind .* still finishes/);
  book.gone(0, 0, 1);
  assert.equal(reload(book, other)[0], 's0');
});

test('a directory that a removed sink still writes to is not given to another', () => {
  const book = new SinkBook({ old: archive('/data/a'), b: { kind: 'blackhole' } }, 1);
  const next = { b: { kind: 'blackhole' as const }, new: archive('/data/a') };
  assert.throws(
    () => book.plan(next),
    /sinks\.new: old, which is removed, still writes to \/data\/a/,
  );
  reload(book, blackholes('b'));
  assert.throws(() => book.plan(next), /still writes to/);
  book.gone(0, 0, 1);
  assert.deepEqual(reload(book, next), ['new', 'b']);
});
