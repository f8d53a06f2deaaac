import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { balance } from '../../src/ledger/balance.js';
import { recoverJournal } from '../../src/ledger/recover.js';
import { openLedger } from '../../src/ledger/store.js';
import { decode } from '../../src/sinks/files/compress.js';
import { repairPart } from '../../src/sinks/files/repair.js';
import { start } from '../support/process.js';
import { tempDir } from '../support/tmp.js';
import { META } from './simulation.js';

const SEED = Number(process.env.D4GW_SEED ?? Date.now() % 100_000);
const CHILD = new URL('./files-child.js', import.meta.url).pathname;
const ENDED = 60;
const PCAP_HEADER_BYTES = 24;

async function plainBytes(path: string): Promise<number> {
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path)).length;
  if (!path.endsWith('.lz4')) return readFileSync(path).length;
  const handle = await open(path);
  let total = 0;
  try {
    for await (const { plain } of decode(handle, 'lz4')) total += plain.length;
  } finally {
    await handle.close();
  }
  return total;
}

/** Payload bytes of a session that lie in files; each sensor has one session. */
async function stored(dir: string, sensor: string, type: number): Promise<number> {
  const place = join(dir, sensor.replaceAll('-', ''), String(type));
  if (!existsSync(place)) return 0;
  const names = readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  assert.ok(
    names.every((name) => !name.endsWith('.part')),
    names.join(),
  );
  const files = names.filter((name) => !name.includes('.json'));
  let total = 0;
  for (const file of files) total += await plainBytes(file);
  if (type === 1 && files.length > 0) total -= PCAP_HEADER_BYTES * (files.length - 1);
  // Each file of the stream has it beside it, and it counts once.
  return names.some((name) => name.endsWith('.json')) ? total + META.bytes.length : total;
}

for (const compress of ['none', 'gzip', 'lz4']) {
  test(`a killed files sink (${compress}) has delivered what lies in its files`, async (t) => {
    t.diagnostic(`seed ${SEED}`);
    const dataDir = tempDir('ledger-files');
    const files = join(dataDir, 'sensors');
    mkdirSync(files);
    const store = openLedger(dataDir);
    const path = join(dataDir, 'ledger', 'worker-0.journal');
    const child = start(process.execPath, [CHILD, path, files, compress, `${SEED}`]);
    await child.waitFor(new RegExp(`(ended\n){${ENDED}}`));
    child.kill('SIGKILL');
    await child.exit();
    assert.equal(child.stderr, '');
    const report = await recoverJournal(path, store, repairPart);
    assert.deepEqual(report.errors, []);
    assert.ok(report.repaired.length > 0);
    const { totals } = store.read();
    for (const total of totals) {
      assert.deepEqual(balance(total), []);
      const { sensor, type, delivered, received } = total;
      const bytes = await stored(files, sensor, type);
      const said = `${sensor} ${type}: ${JSON.stringify(received)}`;
      assert.equal(delivered.disk!.bytes, bytes, said);
    }
    const ended = totals.reduce((sum, total) => sum + (total.ends.closed ?? 0), 0);
    assert.ok(ended >= ENDED, `${ended} ended`);
    await store.close();
  });
}
