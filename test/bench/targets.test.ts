import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { judge, passes, readTargets, type Targets } from '../../bench/check/targets.js';
import { contenderName, makePlan, seriesOf } from '../../bench/e2e/plan.js';
import type { Results, Series } from '../../bench/e2e/results.js';
import { describeMachine } from '../../bench/machine.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

const TOOLS = { socat: true, openssl: true, taskset: true, lz4: true };

function series(id: string, values: Series['values'], failures: string[] = []): Series {
  return { id, subject: 'gateway', values, failures };
}

function results(list: Series[]): Results {
  return {
    ...{ format: 1, startedAt: '2026-01-01T00:00:00.000Z', seconds: 1, form: 'quick' },
    ...{ command: 'd4gw bench', machine: describeMachine(), skipped: [], series: list },
    settings: {
      ...{ samples: 5, sampleSeconds: 1, workers: 1, loadProcesses: 1, loadBefore: 0 },
      ...{ payload: 'jsonl', fileSystem: 'ext4' },
    },
  };
}

const TARGETS: Targets = {
  ratios: [{ what: 'a over b', of: 'a#gbps', over: 'b#gbps', min: 2 }],
  limits: [{ what: 'c', of: 'c#bytes', max: 10 }],
  machines: [
    {
      class: 'none',
      match: { cpu: 'no such processor' },
      limits: [{ what: 'x', of: 'a#gbps', min: 1e9 }],
    },
    { class: 'any', match: {}, limits: [{ what: 'own', of: 'a#gbps', min: 3 }] },
    { class: 'later', match: {}, limits: [{ what: 'y', of: 'a#gbps', min: 1e9 }] },
  ],
};

test('medians are compared, and those of the first machine class that fits', () => {
  // By means a over b would be 1.3: one wild sample must not decide.
  const list = [
    series('a', { gbps: [4, 4, 4.4, 4, 0.1] }),
    series('b', { gbps: [2, 2, 1.9, 2, 5] }),
    series('c', { bytes: [10] }),
  ];
  const verdicts = judge(TARGETS, results(list));
  assert.deepEqual(
    verdicts.map(({ what, state, value }) => [what, state, value]),
    [
      ['a over b', 'met', 2],
      ['c', 'met', 10],
      ['own', 'met', 4],
    ],
  );
  assert.ok(passes(verdicts, false));
});

test('missed, failed and not measured are told apart', () => {
  const missed = judge(
    TARGETS,
    results([
      series('a', { gbps: [3.9] }),
      series('b', { gbps: [2] }),
      series('c', { bytes: [11] }),
    ]),
  );
  assert.deepEqual(
    missed.map(({ state }) => state),
    ['missed', 'missed', 'met'],
  );
  assert.equal(passes(missed, true), false);

  const lost = series('a', { gbps: [100] }, ['10 frames sent, 9 accounted for']);
  const failed = judge(TARGETS, results([lost, series('b', { gbps: [2] })]));
  assert.deepEqual(
    failed.map(({ state }) => state),
    ['failed', 'not measured', 'failed'],
  );
  assert.equal(passes(failed, true), false);

  const partial = judge(TARGETS, results([series('a', { gbps: [4] }), series('b', { gbps: [2] })]));
  assert.equal(passes(partial, false), false);
  assert.equal(passes(partial, true), true);
});

/** Results that meet each target exactly, or miss one of them by a little. */
function exactly(targets: Targets, missed?: number): Results {
  const list = new Map<string, Series>();
  const set = (reference: string, value: number) => {
    const [id, metric] = reference.split('#') as [string, string];
    const entry = list.get(id) ?? series(id, {});
    list.set(id, entry);
    entry.values[metric] ??= [value];
  };
  const read = (reference: string) => {
    const [id, metric] = reference.split('#') as [string, string];
    return list.get(id)?.values[metric]?.[0];
  };
  for (const [index, { of, over, min, max }] of targets.ratios.entries()) {
    const wanted =
      (min ?? max)! *
      (index === missed
        ? min === undefined
          ? 1.01
          : 0.99
        : 1.0001 ** (min === undefined ? -1 : 1));
    if (read(of) === undefined) {
      set(over, 1);
      set(of, wanted * read(over)!);
    } else set(over, read(of)! / wanted);
  }
  for (const { of, min, max } of targets.limits) set(of, (min ?? max)!);
  const all = results([...list.values()]);
  // Of no class: what real machines reach has nothing to do with made-up figures.
  return { ...all, machine: { ...all.machine, cpu: 'made up', arch: 'none' } };
}

test('--check exits 1 on a missed ratio, 0 when all are met', async () => {
  const dir = tempDir('targets');
  const own = readTargets();
  for (const missed of [undefined, 0, 3, own.ratios.length - 1]) {
    const file = join(dir, `${missed}.json`);
    writeFileSync(file, JSON.stringify(exactly(own, missed)));
    const { code, stdout, stderr } = await d4gw(['bench', '--check', '--from', file]);
    assert.equal(code, missed === undefined ? 0 : 1, stdout + stderr);
    const lines = stdout.split('\n').filter((line) => line.startsWith('MISSED'));
    assert.equal(lines.length, missed === undefined ? 0 : 1);
    if (missed !== undefined) assert.ok(lines[0]!.includes(own.ratios[missed]!.what));
  }
});

/** Names of all series that a form fills. */
function seriesIds(form: 'quick' | 'full'): Set<string> {
  const ids = new Set<string>();
  const plan = makePlan({ form, format: 'jsonl', cores: 2, tools: TOOLS });
  for (const { contenders, tag } of plan) {
    for (const contender of contenders) {
      ids.add(contenderName(contender, tag));
      if (contender.kind === 'hmac') {
        for (const way of ['simd', 'createHmac', 'best'])
          ids.add(`hmac/${way}/${contender.payloadBytes}`);
      }
      if (contender.kind === 'stream' && contender.server.subject === 'read') {
        ids.add(`bound/tls/${contender.payloadBytes}/${contender.connections}c`);
      }
    }
  }
  return ids;
}

test('the quick form measures every target, but those that name the full one, which it has', () => {
  const ids = { quick: seriesIds('quick'), full: seriesIds('full') };
  const { ratios, limits, machines } = readTargets();
  const long = ratios.filter(({ form }) => form === 'full');
  assert.equal(long.length, 4, 'relays, and what takes its time');
  for (const { form = 'quick', of, over } of ratios) {
    for (const reference of [of, over])
      assert.ok(ids[form].has(reference.split('#')[0]!), reference);
  }
  for (const { of } of [limits, machines.map((own) => own.limits)].flat(2)) {
    assert.ok(ids.quick.has(of.split('#')[0]!), of);
  }
});

test('the full form has every cell of the matrix once', () => {
  const plan = makePlan({ form: 'full', format: 'jsonl', cores: 2, tools: TOOLS });
  const cells = plan
    .filter(({ tag }) => tag === undefined)
    .flatMap(({ contenders }) => contenders)
    .flatMap((contender) => (contender.kind === 'stream' ? [seriesOf(contender).id] : []));
  assert.equal(new Set(cells).size, 7 * 2 * 3 * 3 * 3);
  assert.equal(cells.length, 7 * 2 * 3 * 3 * 3);
});
