import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { pino } from 'pino';
import { Alerts, type Watched } from '../../src/alerts/alerts.js';
import { type Alert, AlertBook, CLOSED_KEPT, type Condition } from '../../src/alerts/book.js';
import { QUEUE_MAX, signature, Webhook } from '../../src/alerts/webhook.js';
import { openRegistry } from '../../src/registry/lmdb.js';
import { GatewayStats, STALE_MS } from '../../src/stats/gateway-stats.js';
import { until } from '../integration/peers.js';
import { tempDir } from '../support/tmp.js';

const log = pino({ level: 'silent' });
const condition = (key: string, severity: 'warning' | 'critical' = 'warning'): Condition => ({
  key,
  kind: 'sink-failing',
  severity,
  subject: key,
  text: key,
});

describe('the book of alerts', () => {
  test('tells once of each that opens and of each that is over', () => {
    const told: string[] = [];
    const book = new AlertBook(({ key, closedAt }: Alert) =>
      told.push(`${key} ${closedAt === undefined ? 'opened' : 'closed'}`),
    );
    book.update([condition('a')], 1);
    book.update([condition('a'), condition('b', 'critical')], 2);
    assert.deepEqual(
      book.open.map(({ key, openedAt }) => [key, openedAt]),
      [
        ['b', 2],
        ['a', 1],
      ],
    );
    book.update([condition('b', 'critical')], 3);
    book.update([condition('a'), condition('b', 'critical')], 4);
    assert.deepEqual(told, ['a opened', 'b opened', 'a closed', 'a opened']);
    for (let at = 10; at < 10 + 2 * CLOSED_KEPT; at += 1) {
      book.update(at % 2 === 0 ? [] : [condition(`${at}`)], at);
    }
    assert.equal(book.closed.length, CLOSED_KEPT);
  });
});

describe('what is looked for', () => {
  const registry = openRegistry(tempDir('alerts'));
  after(() => registry.close());
  const NOW = Date.now();
  const stats = new GatewayStats(1, new Map([['disk', 'files']]), new Set());
  const heard = new Map<string, number>();
  const certificates = [
    { source: 'tls [::]:4443', notAfter: new Date(NOW + 20 * 86_400_000).toISOString() },
  ];
  const watched: Watched = {
    registry,
    stats,
    certificates,
    startedAt: NOW - 3_600_000,
    heardAt: (sensor) => heard.get(sensor),
  };
  const silence = [{ groups: ['darknet'], seconds: 60 }];
  const alerts = new Alerts({ silence, webhooks: [] }, watched, log);
  const openAt = (now: number) => {
    alerts.evaluate(now);
    return alerts.open.map(({ kind, subject }) => `${kind} ${subject}`).sort();
  };

  test('silence: its own interval before that of its groups, and only of those who may send', async () => {
    const key = Buffer.from('k');
    const [own, grouped, free, blocked, pending] = Array.from({ length: 5 }, randomUUID);
    await registry.add({ uuid: own!, key, expectSeconds: 600, groups: ['darknet'] });
    await registry.add({ uuid: grouped!, key, groups: ['darknet'] });
    await registry.add({ uuid: free!, key });
    await registry.add({ uuid: blocked!, key, expectSeconds: 1 });
    await registry.block(blocked!);
    await registry.add({ uuid: pending!, key, expectSeconds: 1, state: 'pending' });
    assert.deepEqual(openAt(Date.now()), [], 'none is silent for longer than it is known');
    const later = Date.now() + 120_000;
    assert.deepEqual(openAt(later), [`sensor-silent ${grouped}`]);
    assert.deepEqual(alerts.silentSensors(), [grouped]);
    heard.set(grouped!, later - 1_000);
    assert.deepEqual(openAt(later), []);
    const muchLater = later + 1_000_000;
    assert.deepEqual(
      openAt(muchLater),
      [`sensor-silent ${grouped}`, `sensor-silent ${own}`].sort(),
    );
    await registry.recordActivity([
      { kind: 'seen', uuid: own!, at: muchLater - 5_000, address: 'x' },
    ]);
    await registry.edit(grouped!, { groups: [] });
    assert.deepEqual(openAt(muchLater), []);
  });

  test('certificates, sinks, spools, workers and the ledger', () => {
    certificates[0]!.notAfter = new Date(NOW + 13 * 86_400_000).toISOString();
    assert.deepEqual(openAt(NOW), ['certificate-expiring tls [::]:4443']);
    assert.equal(alerts.open[0]!.severity, 'warning');
    assert.match(alerts.open[0]!.text, /in 1[23] days/);
    certificates[0]!.notAfter = new Date(NOW - 1000).toISOString();
    openAt(NOW);
    assert.equal(alerts.open[0]!.severity, 'critical');
    certificates[0]!.notAfter = new Date(NOW + 99 * 86_400_000).toISOString();
    const sink = { name: 'disk', kind: 'files', full: false, held: false };
    const tell = (more: object, at: number) =>
      stats.told(
        0,
        {
          tallies: { received: {}, rejected: {}, delivered: {} },
          sinks: [{ ...sink, state: 'ok', ...more }],
        } as never,
        at,
      );
    tell({ state: 'failing', lastError: { text: 'ENOSPC', at: NOW } }, NOW);
    assert.deepEqual(openAt(NOW), ['sink-failing disk']);
    assert.match(alerts.open[0]!.text, /ENOSPC/);
    tell({ spool: { bytes: 81, maxBytes: 100 } }, NOW);
    assert.deepEqual(openAt(NOW), ['spool-filling disk']);
    tell({ spool: { bytes: 80, maxBytes: 100 } }, NOW);
    assert.deepEqual(openAt(NOW), []);
    assert.deepEqual(openAt(NOW + STALE_MS + 1), ['worker-stalled 0']);
    stats.workerGone(0, true);
    assert.deepEqual(openAt(NOW), ['worker-restarted 0']);
    assert.deepEqual(openAt(NOW + 11 * 60_000), []);
    alerts.balanced([{ sensor: 's', type: 1, sink: 'disk' } as never]);
    assert.deepEqual(openAt(NOW + 11 * 60_000), ['ledger-imbalance ledger']);
    alerts.balanced([]);
    assert.deepEqual(openAt(NOW + 11 * 60_000), []);
  });
});

describe('a webhook', () => {
  interface Taken {
    body: string;
    signature: string | undefined;
  }

  /** A receiver that answers as it is told, and keeps what it took with a 2xx. */
  async function receiver(answers: (number | 'drop')[]) {
    const taken: Taken[] = [];
    let requests = 0;
    const server = createServer((request: IncomingMessage, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        const answer = answers[requests] ?? 200;
        requests += 1;
        if (answer === 'drop') {
          request.socket.destroy();
          return;
        }
        if (answer === 200) {
          const { 'x-d4gw-signature': header } = request.headers;
          taken.push({ body, signature: header as string | undefined });
        }
        response.writeHead(answer, answer === 302 ? { location: '/elsewhere' } : {}).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    after(() => server.close());
    const { port } = server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}/hook`, taken, requests: () => requests };
  }

  test('is posted in order, signed, and again until it is taken', async () => {
    const { url, taken, requests } = await receiver([500, 'drop', 302]);
    const secret = Buffer.from('shared');
    const webhook = new Webhook({ url, secret }, log);
    after(() => webhook.close());
    for (let number = 1; number <= 3; number += 1) webhook.post({ number });
    await until(() => taken.length === 3, 'all are taken');
    assert.deepEqual(
      taken.map(({ body }) => JSON.parse(body).number),
      [1, 2, 3],
    );
    for (const { body, signature: header } of taken) {
      const seconds = Number(/^t=(\d+),/.exec(header!)![1]);
      assert.equal(header, signature(secret, body, seconds * 1000));
    }
    assert.equal(requests(), 6);
    const { sent, failed, waiting, lastError } = webhook.stats;
    assert.deepEqual([sent, failed, waiting], [3, 3, 0]);
    assert.ok(lastError);
  });

  test('keeps no more than it may, and gives up what waits when it is closed', async () => {
    const { url, taken } = await receiver(Array(10).fill(503));
    const webhook = new Webhook({ url, secret: undefined }, log);
    for (let number = 0; number < QUEUE_MAX + 50; number += 1) webhook.post({ number });
    assert.deepEqual([webhook.stats.waiting, webhook.stats.dropped], [QUEUE_MAX, 50]);
    await until(() => webhook.stats.failed > 0, 'one was tried');
    await webhook.close();
    assert.equal(taken.length, 0);
    webhook.post({});
    assert.equal(webhook.stats.waiting, QUEUE_MAX, 'nothing more is taken');
  });

  test('its alerts say what opened and what is over', async () => {
    const { url, taken } = await receiver([]);
    const secretFile = join(tempDir('webhook'), 'secret');
    writeFileSync(secretFile, 'shared\n');
    const registry = openRegistry(tempDir('webhook'));
    after(() => registry.close());
    const held = new Set(['disk']);
    const stats = new GatewayStats(1, new Map([['disk', 'files']]), held);
    const watched = { registry, stats, certificates: [], startedAt: 0, heardAt: () => undefined };
    const alerts = new Alerts({ silence: [], webhooks: [{ url, secretFile }] }, watched, log);
    after(() => alerts.close());
    alerts.evaluate(1_000);
    held.clear();
    alerts.evaluate(2_000);
    await until(() => taken.length === 2, 'both are taken');
    const [opened, closed] = taken.map(({ body }) => JSON.parse(body));
    assert.equal(opened.event, 'opened');
    assert.deepEqual(opened.alert, {
      key: 'sink-stopped/disk',
      kind: 'sink-stopped',
      severity: 'warning',
      subject: 'disk',
      text: 'sink disk is held: the sensors that it serves wait',
      openedAt: '1970-01-01T00:00:01.000Z',
      closedAt: null,
    });
    assert.deepEqual([closed.event, closed.alert.closedAt], ['closed', '1970-01-01T00:00:02.000Z']);
    const { body, signature: header } = taken[0]!;
    const seconds = Number(/^t=(\d+),/.exec(header!)![1]);
    assert.equal(header, signature(Buffer.from('shared'), body, seconds * 1000));
  });
});
