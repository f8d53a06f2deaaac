/** What the registry's tests run in processes and threads of their own. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { open } from 'lmdb';
import { generateKey } from '../../src/registry/limits.js';
import { openRegistry } from '../../src/registry/lmdb.js';

const POLL_MS = 10;
const [, , task, dataDir, argument] = process.argv as string[];

function tell(message: unknown): void {
  if (isMainThread) process.send?.(message);
  else parentPort!.postMessage(message);
}

/** Adds `argument` sensors and reports their UUIDs. */
async function add(): Promise<void> {
  const registry = openRegistry(dataDir!);
  const added: string[] = [];
  tell('ready');
  await once(process, 'message');
  for (let i = 0; i < Number(argument); i++) {
    const uuid = randomUUID();
    await registry.add({ uuid, key: generateKey() });
    added.push(uuid);
  }
  tell(added);
  await registry.close();
  process.disconnect();
}

/** Adds one sensor. */
async function addOne(): Promise<void> {
  const registry = openRegistry(dataDir!);
  await registry.add({ uuid: randomUUID(), key: generateKey() });
  await registry.close();
}

/** Adds and describes sensors without end, until killed. */
async function churn(): Promise<void> {
  const registry = openRegistry(dataDir!);
  const uuid = randomUUID();
  await registry.add({ uuid, key: generateKey() });
  tell('ready');
  for (let i = 0; ; i++) {
    await registry.add({ uuid: randomUUID(), key: generateKey() });
    void registry.recordNote(uuid, `note ${i}`, i);
  }
}

/** Dies by SIGKILL in the middle of a write transaction, with the writers' lock in its hands. */
async function dieWriting(): Promise<void> {
  const db = open({ path: join(dataDir!, 'registry'), overlappingSync: false });
  db.transactionSync(() => {
    db.put('version', -1);
    process.kill(process.pid, 'SIGKILL');
  });
}

/** Polls the version, on this thread and on a second one, and reports what it sees. */
async function poll(): Promise<void> {
  const registry = openRegistry(dataDir!, { readOnly: true });
  if (isMainThread) {
    const worker = new Worker(new URL(import.meta.url), { argv: [task!, dataDir!] });
    worker.on('message', (message) => tell({ ...message, thread: 'worker' }));
    process.on('message', (message) => worker.postMessage(message));
  }
  let seen = -1;
  const timer = setInterval(() => {
    const version = registry.version();
    if (version === seen) return;
    seen = version;
    tell({
      version,
      sensors: registry.list().map(({ uuid, blocked }) => ({ uuid, blocked })),
      blocked: registry.addressBlocked('192.0.2.77'),
      thread: 'main',
    });
  }, POLL_MS);
  await (isMainThread ? once(process, 'message') : once(parentPort!, 'message'));
  clearInterval(timer);
  await registry.close();
  if (isMainThread) process.disconnect();
  else parentPort!.close();
}

const tasks: Record<string, () => Promise<void>> = { add, addOne, churn, dieWriting, poll };
await tasks[task!]!();
