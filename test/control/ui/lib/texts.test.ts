import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configSections } from '../../../../src/control/ui/lib/config-rows.js';
import { reasonText } from '../../../../src/control/ui/lib/reasons.js';
import { Reject, rejectName } from '../../../../src/wire/reject.js';

test('every reject is explained, with what mends it', () => {
  for (const code of Object.values(Reject)) {
    const text = reasonText(rejectName(code));
    assert.ok(text?.what.endsWith('.') && text.mend.endsWith('.'), rejectName(code));
  }
  assert.equal(reasonText('code-99'), undefined);
});

test('a configuration is told key by key, as it stands in its file', () => {
  const config = {
    dataDir: '/data',
    limits: { ringBytes: 1024, maxConnections: 2048 },
    listen: [{ tls: { port: 1 } }, { unix: { path: 'x' } }],
    routes: [{ match: {}, to: ['a', 'b'] }],
    alerts: { webhooks: [] },
  };
  const shown = configSections(config, (value) => `${value / 1024} KiB`).map(({ name, rows }) => [
    name,
    ...rows.map(({ path, value }) => `${path}=${value}`),
  ]);
  assert.deepEqual(shown, [
    ['general', 'dataDir=/data'],
    ['limits', 'ringBytes=1024 (1 KiB)', 'maxConnections=2048'],
    ['listen', '[0].tls.port=1', '[1].unix.path=x'],
    ['routes', '[0].match=everything', '[0].to=a, b'],
    ['alerts', 'webhooks=none'],
  ]);
});
