import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startPoint } from '../../../src/sinks/relay/continuation.js';
import { ENTRIES_MAX, Passed } from '../../../src/sinks/relay/passed.js';
import { Progress } from '../../../src/sinks/relay/progress.js';
import { tempDir } from '../../support/tmp.js';

describe('how far the streams of a spool have come', () => {
  it('is found again, with the preamble and what is kept aside', async () => {
    const dir = tempDir('progress');
    const first = new Progress(dir);
    const prelude = [Buffer.from('head'), Buffer.from('more'), Buffer.from('later')];
    const point = { ...startPoint(7), skip: 3, prelude, preludeCount: 2, form: 'records' as const };
    const frames = [7, 8, 20].map((seq) => ({ session: 'a', seq, frame: Buffer.from(`f${seq}`) }));
    first.commit({ points: new Map([['a', point]]), aside: frames });
    first.commit({ points: new Map([['b', 'finished' as const]]), aside: [] });
    await first.close();

    const again = new Progress(dir);
    const { point: found, isFinished } = again.state('a')!;
    assert.deepEqual(found, { ...point, prelude: prelude.slice(0, 2) });
    assert.equal(isFinished, false);
    assert.equal(again.state('b')!.isFinished, true);
    assert.equal(again.state('c'), undefined);
    assert.equal(again.asideSeq('a'), 20);
    assert.equal(again.asideSeq('b'), -1);
    assert.deepEqual(
      [...again.aside('a', 8)].map(({ seq, frame }) => [seq, frame.toString()]),
      [
        [8, 'f8'],
        [20, 'f20'],
      ],
    );
    // What lies before the point is of no use any more.
    again.commit({ points: new Map([['a', { ...point, fromSeq: 20 }]]), aside: [] });
    assert.deepEqual([...again.aside('a', 0)].length, 1);
    again.commit({ points: new Map([['a', undefined]]), aside: [] });
    assert.equal(again.state('a'), undefined);
    assert.equal(again.asideSeq('a'), -1);
    await again.close();
  });
});

describe('what lies between cursor and reading', () => {
  const session = (number: number) => ({ sensor: `s${number}`, type: 3 });

  it('comes out as it went in, in whole blocks, in bounded memory', () => {
    const passed = new Passed();
    const blocks = 5 * ENTRIES_MAX;
    for (let block = 0; block < blocks; block += 1) {
      const spans = [block % 3, 7].map((number) => ({
        session: session(number),
        frames: 2,
        bytes: 10,
      }));
      passed.push(block * 10 + 9, 100, spans);
    }
    let frames = 0;
    let last = -1;
    for (let seq = 0; seq < blocks * 10; seq += 777) {
      const taken = passed.take(seq);
      if (taken.seq !== undefined) {
        assert.ok(taken.seq <= seq && taken.seq > last);
        last = taken.seq;
      }
      for (const amount of taken.amounts.values()) frames += amount.frames;
      assert.equal(frames, last < 0 ? 0 : ((last + 1) / 10) * 4, 'all up to there, and no more');
    }
    const rest = passed.take(Number.POSITIVE_INFINITY);
    assert.equal(rest.seq, blocks * 10 - 1);
    assert.equal(passed.bytes, 0);
    assert.equal(passed.take(Number.POSITIVE_INFINITY).seq, undefined);
  });
});
