import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Verdict } from '../../bench/check/targets.js';
import type { Results, Series } from '../../bench/e2e/results.js';
import { describeMachine } from '../../bench/machine.js';
import { renderHtml } from '../../bench/report/html.js';
import { renderMarkdown } from '../../bench/report/markdown.js';
import { losses, stagesBySize } from '../../bench/report/select.js';

function row(subject: Series['subject'], sink: Series['sink'], values: Series['values']): Series {
  const id = `${subject}/tls/${sink}/4096/16c@naive`;
  const load = { transport: 'tls', payloadBytes: 4096, connections: 16, idle: 0 } as const;
  return { id, subject, ...(sink ? { sink } : {}), ...load, values, failures: [] };
}

const FAILED: Series = {
  ...row('naive', 'blackhole', { gbps: [98.7654], framesPerSecond: [98_765] }),
  failures: ['<script>alert(1)</script> 10 frames sent, 9 accounted for'],
};

const RESULTS: Results = {
  ...{ format: 1, startedAt: '2026-01-01T00:00:00.000Z', seconds: 1, form: 'quick' },
  ...{ command: 'd4gw bench --quick', machine: describeMachine(), skipped: [] },
  settings: {
    ...{ samples: 5, sampleSeconds: 1, workers: 1, loadProcesses: 1, loadBefore: 0 },
    ...{ payload: 'jsonl', fileSystem: 'ext4' },
  },
  series: [
    row('gateway', 'blackhole', { gbps: [3], gbpsPerCore: [4], framesPerSecond: [90_000] }),
    row('gateway', 'files', { gbps: [2], gbpsPerCore: [2], framesPerSecond: [60_000] }),
    row('naive', 'files', { gbps: [1], gbpsPerCore: [2.5], framesPerSecond: [30_000] }),
    row('read', 'blackhole', { gbps: [8], gbpsPerCore: [16] }),
    {
      id: 'hmac/best/4096',
      subject: 'hmac',
      payloadBytes: 4096,
      values: { gbpsPerCore: [8] },
      failures: [],
    },
    FAILED,
  ],
};

const VERDICTS: Verdict[] = [
  { what: 'a target', state: 'missed', wanted: '≥ 2×', value: 1.5, reached: '1.50×' },
  {
    what: 'another',
    state: 'not measured',
    wanted: '≥ 1×',
    value: undefined,
    reached: 'x was not run',
  },
];

test('the page fetches nothing, escapes all text and gives a failed row no rate', () => {
  const page = renderHtml(RESULTS, [RESULTS, RESULTS], VERDICTS);
  assert.doesNotMatch(page, /\b(src|href)=|url\(|<script|@import|NaN|undefined|Infinity/);
  assert.match(page, /&lt;script>alert/);
  assert.doesNotMatch(page, /98\.77|98765/);
  assert.match(page, /a target.*missed/);
  const opened = [...page.matchAll(/<(svg|section|table|ul)\b/g)].length;
  assert.equal([...page.matchAll(/<\/(svg|section|table|ul)>/g)].length, opened);
});

test('RESULTS.md tells the losses, the failures and the commands', () => {
  const text = renderMarkdown(RESULTS, VERDICTS);
  const lost = text.slice(text.indexOf('## The cases we lose'), text.indexOf('## Rows'));
  assert.match(lost, /missed: a target: 1\.50×, target ≥ 2×/);
  assert.match(lost, /not measured: another: x was not run/);
  assert.match(lost, /gateway\/tls\/files\/4096\/16c@naive`: 0\.80× of naive a core/);
  assert.doesNotMatch(lost, /on the wall clock/);
  assert.match(lost, /FAILED: .*10 frames sent, 9 accounted for/);
  assert.match(text, /npm run bench:gbps -- --quick\n/);
  assert.doesNotMatch(text, /98\.77|98765|NaN/);
});

test('stages are the parts and what is left of the whole', () => {
  assert.deepEqual(stagesBySize(RESULTS), [
    {
      payloadBytes: 4096,
      stages: [
        { name: 'read (TLS)', seconds: 0.5 },
        { name: 'HMAC', seconds: 1 },
        { name: 'gateway', seconds: 0.5 },
        { name: 'store (files)', seconds: 2 },
      ],
    },
  ]);
  assert.deepEqual(
    losses(RESULTS).map(({ metric, ratio }) => [metric, ratio]),
    [['gbpsPerCore', 0.8]],
  );
});
